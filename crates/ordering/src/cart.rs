//! The cart: a Redis hash a user, changed by scripts so that two devices at once lose nothing.

use std::collections::BTreeMap;

use kit::{
    Problem, Result, Timestamp,
    mysql::{self, marks, param},
    redis::{self, RedisResult, Reply, Script, arg, int},
    row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Cents, Line, MAX_LINES, MAX_QUANTITY,
    pricing::{PricedLine, Quote, price},
};

const TTL_SECONDS: i64 = 90 * 24 * 60 * 60;

/// What every script begins with. A field is a product's id, its value `quantity:selected:when added`.
/// The reply is one list: a word that says how it went, then the cart's fields and values.
macro_rules! script {
    ($body:literal) => {
        Script::new(concat!(
            r"
            local cart, id = KEYS[1], ARGV[1]
            local value = redis.call('HGET', cart, id)
            local quantity, selected, added
            if value then quantity, selected, added = value:match('^(%d+):(%d):(%d+)$') end
            local function answer(word)
                local reply = redis.call('HGETALL', cart)
                table.insert(reply, 1, word)
                return reply
            end
            local function put(quantity, selected, added, ttl)
                redis.call('HSET', cart, id, quantity .. ':' .. selected .. ':' .. added)
                redis.call('EXPIRE', cart, ttl)
                return answer('ok')
            end
            ",
            $body
        ))
    };
}

/// ARGV: id, how many more, now, TTL, most of one product, most products.
static ADD: Script = script!(
    r"
    local sum = (tonumber(quantity) or 0) + tonumber(ARGV[2])
    if sum > tonumber(ARGV[5]) then return answer('quantity') end
    if not value and redis.call('HLEN', cart) >= tonumber(ARGV[6]) then return answer('full') end
    return put(sum, 1, added or ARGV[3], ARGV[4])"
);

/// ARGV: id, quantity or '', selected or '', TTL.
static SET: Script = script!(
    r"
    if not value then return answer('absent') end
    if ARGV[2] ~= '' then quantity = ARGV[2] end
    if ARGV[3] ~= '' then selected = ARGV[3] end
    return put(quantity, selected, added, ARGV[4])"
);

/// ARGV: id.
static REMOVE: Script = script!(
    r"
    redis.call('HDEL', cart, id)
    return answer('ok')"
);

/// ARGV: pairs of id and quantity that were bought. What has been added since stays.
static TAKE_OUT: Script = Script::new(
    r"
    for i = 1, #ARGV, 2 do
        local value = redis.call('HGET', KEYS[1], ARGV[i])
        if value then
            local quantity, rest = value:match('^(%d+)(:.*)$')
            local left = tonumber(quantity) - tonumber(ARGV[i + 1])
            if left > 0 then redis.call('HSET', KEYS[1], ARGV[i], left .. rest)
            else redis.call('HDEL', KEYS[1], ARGV[i]) end
        end
    end
    return 1",
);

fn key(user_id: i64) -> String {
    format!("cart:{user_id}")
}

/// What is in a cart, in the order in which it was added.
#[derive(Debug, Default)]
pub struct Cart(Vec<Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    product_id: i64,
    quantity: i64,
    selected: bool,
    added_at: i64,
}

impl Cart {
    pub async fn load(user_id: i64) -> Result<Self> {
        let reply = redis::command("HGETALL", vec![arg(key(user_id))]).await?;
        Ok(Self::from_reply(&reply))
    }

    /// Adds so many of a product; 422 if that is too many.
    pub async fn add(user_id: i64, product_id: i64, quantity: i64) -> Result<Self> {
        let max_lines = i64::try_from(MAX_LINES).unwrap_or(i64::MAX);
        let values = vec![
            int(product_id),
            int(quantity),
            int(Timestamp::now().0),
            int(TTL_SECONDS),
            int(MAX_QUANTITY),
            int(max_lines),
        ];
        Self::run(&ADD, user_id, values).await
    }

    /// Sets what is given; 404 if the product is not in the cart.
    pub async fn set(user_id: i64, product_id: i64, quantity: Option<i64>, selected: Option<bool>) -> Result<Self> {
        let quantity = quantity.map(|n| n.to_string()).unwrap_or_default();
        let selected = selected.map_or("", |selected| if selected { "1" } else { "0" });
        Self::run(&SET, user_id, vec![int(product_id), arg(quantity), arg(selected), int(TTL_SECONDS)]).await
    }

    pub async fn remove(user_id: i64, product_id: i64) -> Result<Self> {
        Self::run(&REMOVE, user_id, vec![int(product_id)]).await
    }

    pub async fn clear(user_id: i64) -> Result<Self> {
        redis::command("DEL", vec![arg(key(user_id))]).await?;
        Ok(Cart::default())
    }

    /// Takes out what was bought.
    pub async fn take_out(user_id: i64, bought: &[Line]) -> Result<()> {
        let values = bought.iter().flat_map(|line| [int(line.product_id), int(line.quantity)]).collect();
        TAKE_OUT.run(&[&key(user_id)], values).await.map(drop)
    }

    /// 404 unless the product is in the cart.
    pub fn expect_holds(&self, product_id: i64) -> Result<()> {
        match self.0.iter().any(|entry| entry.product_id == product_id) {
            true => Ok(()),
            false => Err(absent()),
        }
    }

    async fn run(script: &Script, user_id: i64, arguments: Vec<redis::RedisParameter>) -> Result<Self> {
        let reply = script.run(&[&key(user_id)], arguments).await?;
        let (word, cart) =
            reply.split_first().map_or(("", [].as_slice()), |(_, cart)| (reply.text(0).unwrap_or(""), cart));
        match word {
            "ok" => Ok(Self::from_reply(cart)),
            "absent" => Err(absent()),
            "quantity" => Err(Problem::invalid("quantity", format!("must not come to more than {MAX_QUANTITY}"))),
            "full" => Err(Problem::invalid("product_id", format!("a cart holds {MAX_LINES} products"))),
            _ => Err(Problem::internal()),
        }
    }

    fn from_reply(reply: &[RedisResult]) -> Self {
        let mut entries: Vec<_> = reply.chunks_exact(2).filter_map(Entry::from_reply).collect();
        entries.sort_by_key(|entry| (entry.added_at, entry.product_id));
        Cart(entries)
    }
}

fn absent() -> Problem {
    Problem::not_found("product in the cart")
}

impl Entry {
    fn from_reply(pair: &[RedisResult]) -> Option<Self> {
        let mut value = pair.text(1)?.split(':');
        Some(Entry {
            product_id: pair.int(0)?,
            quantity: value.next()?.parse().ok()?,
            selected: value.next()? == "1",
            added_at: value.next()?.parse().ok()?,
        })
    }
}

/// The cart as the shopper sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cart)]
pub struct CartView {
    pub items: Vec<CartItem>,
    #[serde(flatten)]
    pub totals: Quote,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CartItem {
    pub product_id: i64,
    pub name: String,
    #[schema(required)]
    pub image_url: Option<String>,
    pub price_cents: Cents,
    pub quantity: i64,
    /// Counts towards the totals, and is bought at checkout.
    pub selected: bool,
    /// How many there are; 0 for what has left the shelf.
    pub available: i64,
    pub amount_cents: Cents,
}

row! {
    struct ProductRow {
        id: i64, name: String, image_url: Option<String>, price_cents: Cents, available: i64, on_shelf: bool,
    }
}

impl Cart {
    /// Today's names, prices and stock, and what the selected items come to.
    pub async fn view(&self, currency: &str) -> Result<CartView> {
        let products = products(self.0.iter().map(|entry| entry.product_id)).await?;
        let shown: Vec<_> = self.0.iter().filter_map(|entry| Some((entry, products.get(&entry.product_id)?))).collect();
        let lines: Vec<_> = shown.iter().map(|(entry, product)| priced(entry, product)).collect();
        let (_, amounts) = price(&lines, currency)?;
        let selected: Vec<_> = shown
            .iter()
            .filter(|(e, p)| e.selected && p.on_shelf)
            .map(|(entry, product)| priced(entry, product))
            .collect();
        let (totals, _) = price(&selected, currency)?;
        let items = shown.into_iter().zip(amounts).map(|((entry, product), amount_cents)| CartItem {
            product_id: entry.product_id,
            name: product.name.clone(),
            image_url: product.image_url.clone(),
            price_cents: product.price_cents,
            quantity: entry.quantity,
            selected: entry.selected && product.on_shelf,
            available: if product.on_shelf { product.available } else { 0 },
            amount_cents,
        });
        Ok(CartView { items: items.collect(), totals })
    }

    /// What a checkout would buy now: selected, and on the shelf.
    pub async fn selected(&self) -> Result<Vec<Line>> {
        let products = products(self.0.iter().filter(|entry| entry.selected).map(|entry| entry.product_id)).await?;
        let on_shelf = |entry: &&Entry| products.get(&entry.product_id).is_some_and(|product| product.on_shelf);
        let selected = self.0.iter().filter(|entry| entry.selected).filter(on_shelf);
        Ok(selected.map(|entry| Line { product_id: entry.product_id, quantity: entry.quantity }).collect())
    }
}

/// 422 unless the product is on the shelf.
pub async fn expect_on_shelf(product_id: i64) -> Result<()> {
    let products = products([product_id].into_iter()).await?;
    match products.get(&product_id) {
        Some(product) if product.on_shelf => Ok(()),
        _ => Err(Problem::invalid("product_id", "is no product on the shelf")),
    }
}

fn priced(entry: &Entry, product: &ProductRow) -> PricedLine {
    PricedLine { product_id: entry.product_id, price_cents: product.price_cents, quantity: entry.quantity }
}

async fn products(ids: impl Iterator<Item = i64>) -> Result<BTreeMap<i64, ProductRow>> {
    let ids: Vec<_> = ids.map(param).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT id, name, image_url, price_cents, available, on_shelf FROM products WHERE id IN ({})",
        marks(ids.len())
    );
    let rows = mysql::connection().await?.query::<ProductRow>(&sql, ids).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}
