"""The ETL in bounded memory: buckets by a hash of the user.

One pass reads and checks a piece of the source at a time and appends each row to its user's
bucket. Whatever is per user (order, repeats, histories, the last event) is done inside a bucket, by
the code that a build in memory uses. Whatever is of all events (vocabularies, moments, the split's
boundary, minimum counts) is gathered bucket by bucket and put together in one order. Tables that
have a global order are written as one sorted run a bucket, and merged. So the number of buckets
decides nothing that a dataset holds.
"""
