-- A request that holds a key has its row uncommitted: nobody else can see it, and nobody needs to know whose it is.
ALTER TABLE idempotency_keys DROP COLUMN claim;

-- Of requests that died.
DELETE FROM idempotency_keys WHERE status IS NULL;
