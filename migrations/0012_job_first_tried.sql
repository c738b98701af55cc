-- When a worker first took the job: it is tried for a day from then on. Null: not yet, or not since there is this column.
ALTER TABLE jobs ADD COLUMN first_tried_at BIGINT NULL;
