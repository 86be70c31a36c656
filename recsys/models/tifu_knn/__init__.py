"""TIFU-KNN: what somebody buys often and lately, and what people like them do."""
