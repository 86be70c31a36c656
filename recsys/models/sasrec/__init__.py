"""SASRec: self-attentive sequential recommendation."""
