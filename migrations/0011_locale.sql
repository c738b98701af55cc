-- The language that a user has chosen or signed up in, such as zh-CN. Null: none yet.
ALTER TABLE users ADD COLUMN locale VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL;
