"""The multitask network, in the parts that Zhao et al. (RecSys 2019) name."""
