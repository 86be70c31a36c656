"""Personal popularity: what somebody buys often and lately, they buy again."""
