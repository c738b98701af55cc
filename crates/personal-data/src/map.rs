//! The map: every column of every table.

use Data::{Kept, Personal, Secret};
use Erasure::{Clear, Delete, Nothing};

/// A table, and which of its rows are about a user.
pub struct Table {
    pub name: &'static str,
    /// Empty if no row is about a user.
    pub rows: &'static [Rows],
    pub columns: &'static [(&'static str, Data)],
}

/// Rows about a user, and what happens to them when the user is deleted.
pub struct Rows {
    /// The table, as `t`, and what it is joined with.
    pub from: &'static str,
    /// An SQL condition, in which `?` is the user's id.
    pub condition: &'static str,
    pub erasure: Erasure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erasure {
    Nothing,
    /// The rows are deleted.
    Delete,
    /// The rows stay, without what is personal in them.
    Clear,
}

/// What a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Says nothing about a person by itself, such as a number, a time or an amount.
    Kept,
    /// Is erased: replaced by this SQL value.
    Personal(&'static str),
    /// Is erased like personal data, and never exported.
    Secret(&'static str),
}

const NULL: &str = "NULL";
const EMPTY: &str = "''";
const JSON_NULL: &str = "'null'";

/// A user's orders that are done.
const DONE: &str = "o.user_id = ? AND o.status IN ('completed', 'cancelled', 'refunded')";
/// Those that are not done: they keep what is needed to ship them.
const OPEN: &str = "o.user_id = ? AND o.status NOT IN ('completed', 'cancelled', 'refunded')";

const AUDITED_ORDERS: &str = "
    orders o JOIN audit_log t ON t.object = CONVERT(o.order_no USING utf8mb4) COLLATE utf8mb4_unicode_520_ci
        AND (t.action LIKE 'order.%' OR t.action LIKE 'refund.%')";

const fn rows(from: &'static str, condition: &'static str, erasure: Erasure) -> Rows {
    Rows { from, condition, erasure }
}

/// In the order in which rows are erased: what refers to other rows comes before them.
pub const TABLES: &[Table] = &[
    Table {
        name: "refresh_tokens",
        rows: &[rows("refresh_tokens t JOIN sessions s ON s.id = t.session_id", "s.user_id = ?", Delete)],
        columns: &[("hash", Secret(EMPTY)), ("session_id", Kept), ("used_at", Kept)],
    },
    Table {
        name: "sessions",
        rows: &[rows("sessions t", "t.user_id = ?", Delete)],
        columns: &[
            ("id", Kept),
            ("user_id", Kept),
            ("created_at", Kept),
            ("expires_at", Kept),
            ("ended_at", Kept),
            ("user_agent", Personal(NULL)),
            ("address", Personal(NULL)),
            ("refreshed_at", Kept),
        ],
    },
    Table {
        name: "addresses",
        rows: &[rows("addresses t", "t.user_id = ?", Delete)],
        columns: &[
            ("id", Kept),
            ("user_id", Kept),
            ("receiver", Personal(EMPTY)),
            ("phone", Personal(EMPTY)),
            ("region", Personal(EMPTY)),
            ("detail", Personal(EMPTY)),
            ("is_default", Kept),
        ],
    },
    Table {
        name: "idempotency_keys",
        rows: &[rows("idempotency_keys t", "t.user_id = ?", Delete)],
        columns: &[
            ("user_id", Kept),
            ("scope", Kept),
            ("idempotency_key", Personal(EMPTY)),
            ("body_hash", Secret(EMPTY)),
            ("claimed_at", Kept),
            ("status", Kept),
            // A copy of what the other tables have, which Spin can't read.
            ("reply", Secret(NULL)),
        ],
    },
    Table {
        name: "password_resets",
        rows: &[rows("password_resets t", "t.user_id = ?", Delete)],
        columns: &[("hash", Secret(EMPTY)), ("user_id", Kept), ("expires_at", Kept)],
    },
    Table {
        name: "email_verifications",
        rows: &[rows("email_verifications t", "t.user_id = ?", Delete)],
        columns: &[("hash", Secret(EMPTY)), ("user_id", Kept), ("email", Personal(EMPTY)), ("expires_at", Kept)],
    },
    Table {
        name: "former_emails",
        rows: &[rows("former_emails t", "t.user_id = ?", Delete)],
        columns: &[("id", Kept), ("user_id", Kept), ("email", Personal(EMPTY))],
    },
    Table {
        name: "identities",
        rows: &[rows("identities t", "t.user_id = ?", Delete)],
        columns: &[
            ("id", Kept),
            ("provider", Personal(EMPTY)),
            ("subject", Personal(EMPTY)),
            ("user_id", Kept),
            ("created_at", Kept),
        ],
    },
    Table {
        name: "messages",
        rows: &[rows("messages t", "t.user_id = ?", Delete)],
        columns: &[
            ("id", Kept),
            ("user_id", Kept),
            ("job_id", Kept),
            ("kind", Kept),
            ("order_no", Kept),
            ("subject", Personal(EMPTY)),
            ("body", Personal(EMPTY)),
            ("created_at", Kept),
            ("sent_at", Kept),
        ],
    },
    Table {
        name: "users",
        rows: &[rows("users t", "t.id = ?", Clear)],
        columns: &[
            ("id", Kept),
            // Replaced when the user is deleted: it must be unique.
            ("username", Personal("CONCAT('deleted:', t.id)")),
            ("password_hash", Secret(EMPTY)),
            ("email", Personal(NULL)),
            ("email_verified", Kept),
            ("nickname", Personal(NULL)),
            ("locale", Personal(NULL)),
            ("role", Kept),
            ("permissions", Kept),
            ("created_at", Kept),
            ("suspended_at", Kept),
            ("deleted_at", Kept),
        ],
    },
    // What the staff wrote about users and their orders comes before the orders, which it is found by.
    Table {
        name: "audit_log",
        rows: &[
            rows(
                "audit_log t",
                "t.action LIKE 'user.%' AND t.object = CONVERT(? USING utf8mb4) COLLATE utf8mb4_unicode_520_ci",
                Clear,
            ),
            rows(AUDITED_ORDERS, DONE, Clear),
            rows(AUDITED_ORDERS, OPEN, Nothing),
            // What this user did as staff is about others, and so neither exported nor erased with them.
        ],
        columns: &[
            ("id", Kept),
            ("actor_id", Kept),
            ("action", Kept),
            ("object", Kept),
            ("before_json", Personal(JSON_NULL)),
            ("after_json", Personal(JSON_NULL)),
            ("request_id", Kept),
            ("created_at", Kept),
        ],
    },
    Table {
        name: "order_log",
        rows: &[
            rows("orders o JOIN order_log t ON t.order_no = o.order_no", DONE, Clear),
            rows("orders o JOIN order_log t ON t.order_no = o.order_no", OPEN, Nothing),
        ],
        columns: &[
            ("id", Kept),
            ("order_no", Kept),
            ("from_status", Kept),
            ("to_status", Kept),
            ("cause", Kept),
            ("reason", Personal(NULL)),
            ("actor", Kept),
            ("user_id", Kept),
            ("created_at", Kept),
        ],
    },
    Table {
        name: "refunds",
        rows: &[
            rows("orders o JOIN refunds t ON t.order_no = o.order_no", DONE, Clear),
            rows("orders o JOIN refunds t ON t.order_no = o.order_no", OPEN, Nothing),
        ],
        columns: &[
            ("refund_no", Kept),
            ("order_no", Kept),
            ("payment_no", Kept),
            ("status", Kept),
            ("amount_cents", Kept),
            ("reason", Personal(EMPTY)),
            ("reject_reason", Personal(NULL)),
            ("created_at", Kept),
            ("settled_at", Kept),
        ],
    },
    // An order that is not done keeps what it needs to be shipped.
    Table {
        name: "orders",
        rows: &[
            rows("orders t", "t.user_id = ? AND t.status IN ('completed', 'cancelled', 'refunded')", Clear),
            rows("orders t", "t.user_id = ? AND t.status NOT IN ('completed', 'cancelled', 'refunded')", Nothing),
        ],
        columns: &[
            ("order_no", Kept),
            ("user_id", Kept),
            ("status", Kept),
            ("subtotal_cents", Kept),
            ("discount_cents", Kept),
            ("total_cents", Kept),
            ("currency", Kept),
            ("discounts", Kept),
            ("address", Personal(NULL)),
            ("note", Personal(NULL)),
            ("created_at", Kept),
            ("expires_at", Kept),
            ("paid_at", Kept),
            ("shipped_at", Kept),
            ("completed_at", Kept),
            ("cancelled_at", Kept),
            ("cancel_reason", Personal(NULL)),
            ("carrier", Kept),
            // Carriers tell who knows it where the parcel went.
            ("tracking_no", Personal(NULL)),
            ("refund_no", Kept),
            ("ticket", Kept),
        ],
    },
    Table {
        name: "order_items",
        rows: &[rows("orders o JOIN order_items t ON t.order_no = o.order_no", "o.user_id = ?", Nothing)],
        columns: &[
            ("order_no", Kept),
            ("line", Kept),
            ("product_id", Kept),
            ("name", Kept),
            ("image_url", Kept),
            ("price_cents", Kept),
            ("quantity", Kept),
            ("amount_cents", Kept),
            ("discount_cents", Kept),
        ],
    },
    Table {
        name: "payments",
        rows: &[
            rows("orders o JOIN payments t ON t.order_no = o.order_no", DONE, Clear),
            rows("orders o JOIN payments t ON t.order_no = o.order_no", OPEN, Nothing),
        ],
        columns: &[
            ("payment_no", Kept),
            ("order_no", Kept),
            ("provider", Kept),
            ("status", Kept),
            ("amount_cents", Kept),
            ("currency", Kept),
            ("created_at", Kept),
            ("settled_at", Kept),
            ("flow", Kept),
            ("action", Kept),
            ("return_url", Personal(NULL)),
        ],
    },
    Table {
        name: "ledger_transfers",
        rows: &[rows("orders o JOIN ledger_transfers t ON t.order_no = o.order_no", "o.user_id = ?", Nothing)],
        columns: &[
            ("transfer_id", Kept),
            ("event", Kept),
            ("leg", Kept),
            ("debit", Kept),
            ("credit", Kept),
            ("currency", Kept),
            ("amount_cents", Kept),
            ("order_no", Kept),
            ("created_at", Kept),
        ],
    },
    Table {
        name: "user_coupons",
        rows: &[rows("user_coupons t", "t.user_id = ?", Nothing)],
        columns: &[
            ("id", Kept),
            ("coupon_id", Kept),
            ("user_id", Kept),
            ("claimed_at", Kept),
            ("order_no", Kept),
            ("used_at", Kept),
        ],
    },
    Table {
        name: "seckill_tickets",
        rows: &[rows("orders o JOIN seckill_tickets t ON t.ticket = o.ticket", "o.user_id = ?", Nothing)],
        columns: &[
            ("ticket", Kept),
            ("activity_id", Kept),
            ("user_id", Kept),
            ("status", Kept),
            ("order_no", Kept),
            ("live", Kept),
            ("created_at", Kept),
        ],
    },
    Table {
        name: "stock_movements",
        rows: &[],
        columns: &[
            ("id", Kept),
            ("product_id", Kept),
            ("delta", Kept),
            ("reason", Kept),
            ("user_id", Kept),
            ("created_at", Kept),
        ],
    },
    // A payload names users and orders by their numbers alone.
    Table {
        name: "jobs",
        rows: &[],
        columns: &[
            ("id", Kept),
            ("queue", Kept),
            ("state", Kept),
            ("due_at", Kept),
            ("attempts", Kept),
            ("payload", Kept),
            ("last_error", Kept),
            ("created_at", Kept),
            ("request_id", Kept),
            ("traceparent", Kept),
            ("first_tried_at", Kept),
            ("dead_since", Kept),
        ],
    },
    Table { name: "categories", rows: &[], columns: &[("id", Kept), ("parent_id", Kept), ("name", Kept)] },
    Table {
        name: "products",
        rows: &[],
        columns: &[
            ("id", Kept),
            ("name", Kept),
            ("description", Kept),
            ("image_url", Kept),
            ("category_id", Kept),
            ("price_cents", Kept),
            ("available", Kept),
            ("reserved", Kept),
            ("sold", Kept),
            ("on_shelf", Kept),
            ("created_at", Kept),
            ("updated_at", Kept),
            ("search_text", Kept),
        ],
    },
    Table {
        name: "ledger_sums",
        rows: &[],
        columns: &[("account", Kept), ("currency", Kept), ("debit_cents", Kept), ("credit_cents", Kept)],
    },
    Table {
        name: "ledger_checkpoint",
        rows: &[],
        columns: &[("id", Kept), ("summed_id", Kept), ("seen_id", Kept), ("seen_at", Kept)],
    },
    Table { name: "product_terms", rows: &[], columns: &[("term", Kept), ("block", Kept), ("products", Kept)] },
    Table { name: "product_pairs", rows: &[], columns: &[("product_id", Kept), ("other_id", Kept), ("times", Kept)] },
    Table {
        name: "seckill_activities",
        rows: &[],
        columns: &[
            ("id", Kept),
            ("product_id", Kept),
            ("price_cents", Kept),
            ("stock", Kept),
            ("booked", Kept),
            ("per_user_limit", Kept),
            ("starts_at", Kept),
            ("ends_at", Kept),
            ("closed_at", Kept),
            ("created_at", Kept),
        ],
    },
    Table {
        name: "promotions",
        rows: &[],
        columns: &[
            ("id", Kept),
            ("name", Kept),
            ("rule", Kept),
            ("exclusive", Kept),
            ("priority", Kept),
            ("starts_at", Kept),
            ("ends_at", Kept),
            ("created_at", Kept),
            ("updated_at", Kept),
        ],
    },
    Table {
        name: "coupons",
        rows: &[],
        columns: &[
            ("id", Kept),
            ("code", Kept),
            ("name", Kept),
            ("rule", Kept),
            ("total_limit", Kept),
            ("per_user_limit", Kept),
            ("taken", Kept),
            ("starts_at", Kept),
            ("ends_at", Kept),
            ("created_at", Kept),
            ("updated_at", Kept),
        ],
    },
    // Which migrations have run; `cargo mall migrate` writes it.
    Table {
        name: "_sqlx_migrations",
        rows: &[],
        columns: &[
            ("version", Kept),
            ("description", Kept),
            ("installed_on", Kept),
            ("success", Kept),
            ("checksum", Kept),
            ("execution_time", Kept),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_personal_is_in_rows_that_are_erased() {
        for table in TABLES {
            let is_personal = table.columns.iter().any(|(_, data)| *data != Kept);
            let is_erased = table.rows.iter().any(|rows| rows.erasure != Nothing);
            assert_eq!(is_personal, is_erased, "{}", table.name);
        }
    }

    #[test]
    fn every_condition_names_the_user_once() {
        for rows in TABLES.iter().flat_map(|table| table.rows) {
            assert_eq!(rows.condition.matches('?').count(), 1, "{}", rows.condition);
        }
    }
}
