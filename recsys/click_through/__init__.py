"""The ranking task: a prediction for each given row, judged against its label.

predictions      the file that stands between predicting and judging, ours or anybody's
judging          metrics with intervals
parts            the main metric in parts of the rows
checks           what may be wrong with the protocol
comparing        paired differences, and who leads
comparison_page  the comparison as a page
stages           what the commands call
"""
