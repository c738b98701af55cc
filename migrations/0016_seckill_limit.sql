-- How many tickets a user has in a sale: counted again when tickets are booked.
ALTER TABLE seckill_tickets ADD INDEX ix_seckill_tickets_user (activity_id, user_id, live);
