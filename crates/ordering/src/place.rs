//! Placing an order: everything that may change later is copied, then the products are locked in the order of their ids,
//! price and stock are checked under the lock, and stock is reserved.
//!
//! The lock comes last because all who want the same product wait for it: the order is made of what was read before, and
//! made again if that has changed. The coupon, which all who use it wait for, is locked just before them.

use std::collections::{BTreeMap, BTreeSet};

use kit::{
    Code, FieldError, Problem, Result, Timestamp,
    check::Checks,
    mysql::{Connection, Transaction, marks, param},
    params, row,
};

use crate::{
    Address, Cents, MAX_LINES, MAX_QUANTITY, Order, OrderItem, OrderState,
    categories::{self, Categories},
    coupon, history,
    pricing::{PricedLine, Terms, price},
    promotion, stock,
};

/// How many of a product.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub product_id: i64,
    pub quantity: i64,
}

/// What becomes of a line whose product is not on the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffShelf {
    /// 422: it was asked for by name.
    Refuse,
    /// It is left where it is: in a cart, which shows it as something that can't be bought.
    Skip,
}

/// What somebody wants to buy.
#[derive(Debug)]
pub struct Purchase<'a> {
    pub user_id: i64,
    pub lines: &'a [Line],
    pub off_shelf: OffShelf,
    pub address_id: Option<i64>,
    pub coupon_code: Option<&'a str>,
    pub note: Option<&'a str>,
    pub currency: &'a str,
    /// Unpaid after so many seconds, the order is cancelled.
    pub ttl_seconds: i64,
}

row! {
    struct ProductRow {
        id: i64, name: String, image_url: Option<String>, price_cents: Cents, available: i64, on_shelf: bool,
        categories: Categories,
    }
}

row! {
    struct AddressRow { receiver: String, phone: String, region: String, detail: String }
}

/// Places the order, or says why not: 422 for what was asked wrongly, 409 `coupon_invalid`, 409 `out_of_stock` with
/// each product that there is too little of.
pub async fn place(tx: &mut Transaction, purchase: &Purchase<'_>) -> Result<Order> {
    check(purchase)?;
    let address = address(tx, purchase).await?;
    let products = products(tx, purchase.lines, "").await?;
    let items = on_shelf(purchase, &products)?;
    check_stock(&items)?;

    let coupon = match purchase.coupon_code {
        Some(code) => Some(coupon::usable(tx, purchase.user_id, code).await?),
        None => None,
    };
    let promotions = promotion::read(tx).await?;
    let (user_id, currency) = (purchase.user_id, purchase.currency);
    let terms = Terms { user_id, promotions: &promotions, coupon: coupon.as_ref(), currency };
    let lines = items.iter().map(|(line, product)| PricedLine {
        product_id: line.product_id,
        categories: product.categories.clone(),
        price_cents: product.price_cents,
        quantity: line.quantity,
    });
    let (quote, prices) = price(lines.collect(), &terms)?;
    let items = items.into_iter().zip(prices).map(|((line, product), priced)| OrderItem {
        product_id: line.product_id,
        name: product.name.clone(),
        image_url: product.image_url.clone(),
        price_cents: product.price_cents,
        quantity: line.quantity,
        amount_cents: priced.amount_cents,
        discount_cents: priced.discount_cents,
    });

    let created_at = Timestamp::now();
    let order = Order {
        order_no: ulid::Ulid::generate().to_string(),
        status: OrderState::Pending,
        items: items.collect(),
        subtotal_cents: quote.subtotal_cents,
        discount_cents: quote.discount_cents,
        total_cents: quote.total_cents,
        currency: quote.currency,
        discounts: quote.discounts,
        address,
        note: purchase.note.map(str::to_owned),
        created_at,
        expires_at: created_at.plus_seconds(purchase.ttl_seconds),
        paid_at: None,
        shipped_at: None,
        completed_at: None,
        cancelled_at: None,
        cancel_reason: None,
        carrier: None,
        tracking_no: None,
        refund: None,
    };
    insert(tx, purchase.user_id, &order).await?;
    history::begun(tx, &[(&order.order_no, purchase.user_id)]).await?;
    let expiry = stock::Expiry { order_no: order.order_no.clone() };
    tx.enqueue(&[expiry.job(order.expires_at)?]).await?;
    if let Some(coupon) = &coupon {
        coupon::take(tx, purchase.user_id, coupon, &order.order_no).await?;
    }
    reserve(tx, purchase, &products).await?;
    Ok(order)
}

const NOTHING: &str = "must not be empty: there is nothing to order";

fn check(purchase: &Purchase<'_>) -> Result<()> {
    let mut checks = Checks::new();
    let count = purchase.lines.len();
    checks.that(count > 0, "items", NOTHING);
    checks.that(count <= MAX_LINES, "items", format!("must be {MAX_LINES} at most"));
    let mut seen = BTreeSet::new();
    for (i, line) in purchase.lines.iter().enumerate() {
        checks.number(&format!("items[{i}].quantity"), line.quantity, 1, MAX_QUANTITY);
        let field = format!("items[{i}].product_id");
        checks.that(seen.insert(line.product_id), &field, "is named twice");
    }
    if let Some(note) = purchase.note {
        checks.text("note", note, 0, 500);
    }
    if let Some(code) = purchase.coupon_code {
        checks.text("coupon_code", code, 1, 32);
    }
    checks.done()
}

async fn address(db: &mut Connection, purchase: &Purchase<'_>) -> Result<Option<Address>> {
    const ADDRESS: &str = "SELECT receiver, phone, region, detail FROM addresses WHERE id = ? AND user_id = ?";
    let Some(id) = purchase.address_id else { return Ok(None) };
    let row = db.query_one::<AddressRow>(ADDRESS, params![id, purchase.user_id]).await?;
    let row = row.ok_or_else(|| Problem::invalid("address_id", "is no address of yours"))?;
    Ok(Some(Address { receiver: row.receiver, phone: row.phone, region: row.region, detail: row.detail }))
}

/// The products by id.
async fn products(tx: &mut Transaction, lines: &[Line], lock: &str) -> Result<BTreeMap<i64, ProductRow>> {
    let sql = format!(
        "SELECT id, name, image_url, price_cents, available, on_shelf, {} AS categories
         FROM products WHERE id IN ({}) ORDER BY id {lock}",
        categories::OF_PRODUCT,
        marks(lines.len())
    );
    let ids = lines.iter().map(|line| param(line.product_id)).collect();
    let rows = tx.query::<ProductRow>(&sql, ids).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Takes the units, if the products are still what the order was made of. Everybody locks in the order of the ids, so
/// nobody waits in a circle.
async fn reserve(tx: &mut Transaction, purchase: &Purchase<'_>, seen: &BTreeMap<i64, ProductRow>) -> Result<()> {
    let locked = products(tx, purchase.lines, "FOR UPDATE").await?;
    let same = |(id, now): (&i64, &ProductRow)| seen.get(id).is_some_and(|seen| seen.sells_as(now));
    if !locked.iter().all(same) {
        return Err(Problem::conflict());
    }
    let items = on_shelf(purchase, &locked)?;
    check_stock(&items)?;
    stock::reserve(tx, items.into_iter().map(|(line, _)| *line)).await
}

impl ProductRow {
    /// Whether nothing has changed but the stock.
    fn sells_as(&self, other: &ProductRow) -> bool {
        (&self.name, &self.image_url, self.price_cents, self.on_shelf, &self.categories)
            == (&other.name, &other.image_url, other.price_cents, other.on_shelf, &other.categories)
    }
}

/// The lines whose products can be bought.
fn on_shelf<'a>(
    purchase: &Purchase<'a>,
    products: &'a BTreeMap<i64, ProductRow>,
) -> Result<Vec<(&'a Line, &'a ProductRow)>> {
    let (mut checks, mut items) = (Checks::new(), Vec::new());
    for (i, line) in purchase.lines.iter().enumerate() {
        let product = products.get(&line.product_id).filter(|product| product.on_shelf);
        if purchase.off_shelf == OffShelf::Refuse {
            checks.that(product.is_some(), &format!("items[{i}].product_id"), "is no product on the shelf");
        }
        items.extend(product.map(|product| (line, product)));
    }
    checks.that(!items.is_empty() || purchase.off_shelf == OffShelf::Refuse, "items", NOTHING);
    checks.done()?;
    Ok(items)
}

fn check_stock(items: &[(&Line, &ProductRow)]) -> Result<()> {
    let short = items.iter().enumerate().filter(|(_, (line, product))| product.available < line.quantity);
    let short: Vec<_> = short
        .map(|(i, (_, product))| FieldError {
            field: format!("items[{i}].product_id"),
            message: format!("{}: {} left of {}", product.id, product.available, product.name),
        })
        .collect();
    match short.is_empty() {
        true => Ok(()),
        false => Err(Problem::new(Code::OutOfStock, "There is not enough in stock").with_errors(short)),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Problem::internal())
}

async fn insert(tx: &mut Transaction, user_id: i64, order: &Order) -> Result<()> {
    const ORDER: &str = "
        INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency,
                            discounts, address, note, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let address = order.address.as_ref().map(json).transpose()?;
    let order_no = &order.order_no;
    let values = params![
        order_no,
        user_id,
        order.status.name(),
        order.subtotal_cents,
        order.discount_cents,
        order.total_cents,
        &order.currency,
        json(&order.discounts)?,
        address,
        order.note.as_deref(),
        order.created_at,
        order.expires_at,
    ];
    tx.execute(ORDER, values).await?;

    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; order.items.len()].join(", ");
    let sql = format!(
        "INSERT INTO order_items (order_no, line, product_id, name, image_url, price_cents, quantity, amount_cents,
                                  discount_cents)
         VALUES {rows}"
    );
    let values = order.items.iter().zip(1_i64..).flat_map(|(item, line)| {
        params![
            order_no,
            line,
            item.product_id,
            &item.name,
            item.image_url.as_deref(),
            item.price_cents,
            item.quantity,
            item.amount_cents,
            item.discount_cents,
        ]
    });
    tx.execute(&sql, values.collect()).await?;
    Ok(())
}
