-- The request that caused a job: in the log lines of the worker that does it.
ALTER TABLE jobs
    ADD COLUMN request_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN traceparent CHAR(55) CHARACTER SET ascii COLLATE ascii_bin NULL;
