#!/bin/sh
# Everything that the service needs, of the simulated world. What is already there stays: running it again is harmless.
set -eu

[ -d /world/log ] || watchnext simulate --days "$DAYS" --out /world/log
[ -f /registry/current.json ] || watchnext train --spec simulated --data /world/log --registry /registry --resume
watchnext features load --spec simulated --data /world/log --redis-url "$REDIS_URL"
