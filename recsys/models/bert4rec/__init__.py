"""BERT4Rec: bidirectional sequential recommendation by the Cloze task."""
