//! Placing an order. Everything that may change later is copied. Then the products are locked in the order of their
//! ids, price and stock are checked again under the lock, and the stock is reserved.
//!
//! The products are locked last, since other buyers of the same products wait for the locks. So the order is built from
//! what was read before without a lock, and built again if that has changed. The coupon is locked just before the
//! products.

use std::collections::{BTreeMap, BTreeSet};

use accounts::address;
use kit::{
    AddressId, Code, FieldError, Problem, ProductId, Result, UserId,
    mysql::{Connection, Transaction},
    params,
    validate::Validator,
};
use products::{
    Line, ProductSummary, StockCount, stock,
    summary::{self, Lock},
};

use crate::{
    MAX_LINES, MAX_QUANTITY, coupon,
    insert::{PlacedOrder, insert},
    order::{Address, Order, OrderItem},
    pricing::{Error, PricedLine, Terms, price},
    promotion,
};

/// What to do with a line whose product is not on the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffShelf {
    /// 422: the client named the product.
    Refuse,
    /// Leave it in the cart, which shows that it can't be bought.
    Skip,
}

/// An order to be placed.
#[derive(Debug)]
pub struct PlaceOrder<'a> {
    pub user_id: UserId,
    pub lines: &'a [Line],
    pub off_shelf: OffShelf,
    pub address_id: Option<AddressId>,
    pub coupon_code: Option<&'a str>,
    pub note: Option<&'a str>,
    pub currency: &'a str,
    /// The time to pay, in seconds.
    pub ttl_seconds: i64,
    /// How many unpaid orders the user may have, this one included.
    pub max_pending: i64,
}

/// Places the order. 422 for an invalid request, 409 `pending_limit`, 409 `coupon_invalid`, 409 `out_of_stock` with an error for each
/// product that is short.
pub async fn place(tx: &mut Transaction, request: &PlaceOrder<'_>) -> Result<Order> {
    check(request)?;
    check_pending(tx, request).await?;
    let address = address(tx, request).await?;
    let product_ids: Vec<_> = request.lines.iter().map(|line| line.product_id).collect();
    let products = summary::read(tx, &product_ids, Lock::None).await?;
    let items = on_shelf(request, &products)?;
    check_stock(&items)?;

    let coupon = match request.coupon_code {
        Some(code) => Some(coupon::redeemable(tx, request.user_id, code).await?),
        None => None,
    };
    let promotions = promotion::active(tx).await?;
    let (user_id, currency) = (request.user_id, request.currency);
    let terms = Terms { user_id, promotions: &promotions, coupon: coupon.as_ref(), currency };
    let lines = items.iter().map(|(line, product)| PricedLine {
        product_id: line.product_id,
        categories: product.categories.clone(),
        price_cents: product.price_cents,
        quantity: line.quantity,
    });
    let (quote, prices) = match price(lines.collect(), &terms) {
        Ok(priced) => priced,
        Err(Error::Coupon(refusal)) => return Err(coupon::refused(tx, user_id, refusal).await),
        Err(Error::Other(problem)) => return Err(problem),
    };
    let items = items.into_iter().zip(prices).map(|((line, product), priced)| OrderItem {
        product_id: line.product_id,
        name: product.name.clone(),
        image_url: product.image_url.clone(),
        price_cents: product.price_cents,
        quantity: line.quantity,
        amount_cents: priced.amount_cents,
        discount_cents: priced.discount_cents,
    });

    let note = request.note.map(str::to_owned);
    let order = Order { address, note, ..Order::pending(quote, items.collect(), request.ttl_seconds) };
    let placed = [PlacedOrder { user_id, order, ticket: None }];
    insert(tx, &placed).await?;
    let [PlacedOrder { order, .. }] = placed;
    if let Some(coupon) = &coupon {
        coupon::redeem(tx, user_id, coupon, &order.order_no).await?;
    }
    reserve(tx, request, &product_ids, &products).await?;
    Ok(order)
}

/// 409 `pending_limit` if the user has too many unpaid orders; those of flash sales, which have limits of their own, don't
/// count. 404 if the user has been deleted.
///
/// The statement locks the user's row, so orders of a user are placed one after the other. It counts after it has the
/// lock, since the count depends on the locked row.
async fn check_pending(tx: &mut Transaction, request: &PlaceOrder<'_>) -> Result<()> {
    const PENDING: &str = "
        SELECT (
            SELECT COUNT(*) FROM orders FORCE INDEX (ix_orders_user_status)
            WHERE orders.user_id = users.id AND status = 'pending' AND ticket IS NULL
        ) AS pending
        FROM users WHERE id = ? AND deleted_at IS NULL FOR UPDATE";
    let pending = tx.query_one::<(i64,)>(PENDING, params![request.user_id]).await?;
    let (pending,) = pending.ok_or_else(|| Problem::not_found("user"))?;
    match pending < request.max_pending {
        true => Ok(()),
        false => {
            let detail = format!("You have {} unpaid orders; pay or cancel one first", request.max_pending);
            Err(Problem::new(Code::PendingLimit, detail))
        }
    }
}

const EMPTY: &str = "must not be empty";

fn check(request: &PlaceOrder<'_>) -> Result<()> {
    let mut validator = Validator::new();
    let count = request.lines.len();
    validator.require(count > 0, "items", EMPTY);
    validator.require(count <= MAX_LINES, "items", format!("must be at most {MAX_LINES}"));
    let mut seen = BTreeSet::new();
    for (i, line) in request.lines.iter().enumerate() {
        validator.number(&format!("items[{i}].quantity"), line.quantity, 1, MAX_QUANTITY);
        let field = format!("items[{i}].product_id");
        validator.require(seen.insert(line.product_id), &field, "is a duplicate");
    }
    if let Some(note) = request.note {
        validator.text("note", note, 0, 500);
    }
    if let Some(code) = request.coupon_code {
        validator.text("coupon_code", code, 1, 32);
    }
    validator.finish()
}

async fn address(db: &mut Connection, request: &PlaceOrder<'_>) -> Result<Option<Address>> {
    let Some(address_id) = request.address_id else { return Ok(None) };
    let found = address::find(db, request.user_id, address_id).await?;
    let found = found.ok_or_else(|| Problem::invalid("address_id", "is not one of your addresses"))?;
    Ok(Some(Address { receiver: found.receiver, phone: found.phone, region: found.region, detail: found.detail }))
}

/// Reserves the units, if the products are still those from which the order was built. Every transaction locks products
/// in the order of their ids, so there is no deadlock.
async fn reserve(
    tx: &mut Transaction,
    request: &PlaceOrder<'_>,
    product_ids: &[ProductId],
    priced_with: &BTreeMap<ProductId, ProductSummary>,
) -> Result<()> {
    let locked = summary::read(tx, product_ids, Lock::ForUpdate).await?;
    let is_same =
        |(id, now): (&ProductId, &ProductSummary)| priced_with.get(id).is_some_and(|before| is_same_offer(before, now));
    if !locked.iter().all(is_same) {
        return Err(Problem::conflict().because("a product has changed"));
    }
    let items = on_shelf(request, &locked)?;
    check_stock(&items)?;
    let lines: Vec<_> = items.into_iter().map(|(line, _)| *line).collect();
    stock::transfer(tx, &lines, StockCount::Available, StockCount::Reserved).await
}

/// Whether a product is unchanged apart from its stock.
fn is_same_offer(before: &ProductSummary, now: &ProductSummary) -> bool {
    (&before.name, &before.image_url, before.price_cents, before.on_shelf, &before.categories)
        == (&now.name, &now.image_url, now.price_cents, now.on_shelf, &now.categories)
}

/// The lines whose products can be bought.
fn on_shelf<'a>(
    request: &PlaceOrder<'a>,
    products: &'a BTreeMap<ProductId, ProductSummary>,
) -> Result<Vec<(&'a Line, &'a ProductSummary)>> {
    let (mut validator, mut items) = (Validator::new(), Vec::new());
    for (i, line) in request.lines.iter().enumerate() {
        let product = products.get(&line.product_id).filter(|product| product.on_shelf);
        if request.off_shelf == OffShelf::Refuse {
            validator.require(product.is_some(), &format!("items[{i}].product_id"), "is not a product on the shelf");
        }
        items.extend(product.map(|product| (line, product)));
    }
    validator.require(!items.is_empty() || request.off_shelf == OffShelf::Refuse, "items", EMPTY);
    validator.finish()?;
    Ok(items)
}

fn check_stock(items: &[(&Line, &ProductSummary)]) -> Result<()> {
    let short = items.iter().enumerate().filter(|(_, (line, product))| product.available < line.quantity);
    let short: Vec<_> = short
        .map(|(i, (_, product))| FieldError {
            field: format!("items[{i}].product_id"),
            message: format!("{}: only {} left of {}", product.id, product.available, product.name),
        })
        .collect();
    match short.is_empty() {
        true => Ok(()),
        false => Err(Problem::new(Code::OutOfStock, "Not enough in stock").with_errors(short)),
    }
}
