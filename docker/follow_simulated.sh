#!/bin/sh
# Learns the simulated world's log, and then what viewers do, for ever. It goes on from where it was whenever it is
# started, so running it again is harmless.
set -eu

[ -d /world/log ] || watchnext simulate --live --days "$DAYS" --out /world/log
watchnext features load --spec simulated_live --data /world/log --redis-url "$REDIS_URL"
exec watchnext train --follow --spec simulated_live --data /world/log --registry /registry --redis-url "$REDIS_URL" \
    --wait 5s --learn-every 5s --publish-every "$PUBLISH_EVERY" --checkpoint-every 10s
