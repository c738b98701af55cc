//! The cart: a Redis hash a user, changed by scripts so that two devices at once lose nothing.

use kit::{
    Code, Problem, Result, Timestamp,
    redis::{self, RedisResult, Reply, Script, arg, int},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Cents, Line, MAX_LINES, MAX_QUANTITY,
    coupon::Usable,
    facts::{self, Facts},
    pricing::{PricedLine, Quote, Terms, price},
    promotion,
};

/// A little less than the request's deadline, so that who has heard that it failed can try again at once. Its
/// transaction has three seconds.
const LONGEST_CHECKOUT_MS: i64 = 4400;
const TTL_SECONDS: i64 = 90 * 24 * 60 * 60;

/// What every script begins with. A field is a product's id, its value `quantity:selected:when added`.
/// The reply is one list: a word that says how it went, then of each product the cart's field, its value, and the
/// product's facts, empty if they are not there. `shelf` says what keeps the product from being bought, as far as is
/// known; who has looked into MySQL passes `1` in ARGV[2], and it says nothing.
macro_rules! script {
    ($body:literal) => {
        Script::new(concat!(
            r"
            local cart, id = KEYS[1], ARGV[1]
            local value = id ~= '' and redis.call('HGET', cart, id)
            local quantity, selected, added
            if value then quantity, selected, added = value:match('^(%d+):(%d):(%d+)$') end
            local function answer(word)
                local reply, held = {word}, redis.call('HGETALL', cart)
                for i = 1, #held, 2 do
                    table.insert(reply, held[i])
                    table.insert(reply, held[i + 1])
                    table.insert(reply, redis.call('GET', 'facts:' .. held[i]) or '')
                end
                return reply
            end
            local function put(quantity, selected, added, ttl)
                redis.call('HSET', cart, id, quantity .. ':' .. selected .. ':' .. added)
                redis.call('EXPIRE', cart, ttl)
                return answer('ok')
            end
            local function shelf()
                if ARGV[2] == '1' then return nil end
                local facts = redis.call('GET', 'facts:' .. id)
                if not facts then return {'unknown'} end
                if not cjson.decode(facts).on_shelf then return {'off'} end
            end
            ",
            $body
        ))
    };
}

/// ARGV: ''.
static SHOW: Script = script!("return answer('ok')");

/// ARGV: id, whether the shelf was looked at, how many more, now, TTL, most of one product, most products.
static ADD: Script = script!(
    r"
    local why = shelf()
    if why then return why end
    local sum = (tonumber(quantity) or 0) + tonumber(ARGV[3])
    if sum > tonumber(ARGV[6]) then return answer('quantity') end
    if not value and redis.call('HLEN', cart) >= tonumber(ARGV[7]) then return answer('full') end
    return put(sum, 1, added or ARGV[4], ARGV[5])"
);

/// ARGV: id, whether the shelf was looked at, quantity or '', selected or '', TTL.
static SET: Script = script!(
    r"
    if not value then return answer('absent') end
    local why = ARGV[4] == '1' and shelf()
    if why then return why end
    if ARGV[3] ~= '' then quantity = ARGV[3] end
    if ARGV[4] ~= '' then selected = ARGV[4] end
    return put(quantity, selected, added, ARGV[5])"
);

/// ARGV: id.
static REMOVE: Script = script!(
    r"
    redis.call('HDEL', cart, id)
    return answer('ok')"
);

/// KEYS: cart, its checkout. ARGV: pairs of id and quantity that were bought. What has been added since stays.
static TAKE_OUT: Script = Script::new(
    r"
    redis.call('DEL', KEYS[2])
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

fn checkout_key(user_id: i64) -> String {
    format!("checkout:{user_id}")
}

/// What is in a cart, in the order in which it was added.
#[derive(Debug, Default)]
pub struct Cart(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    product_id: i64,
    quantity: i64,
    selected: bool,
    added_at: i64,
    /// As far as Redis has them.
    facts: Option<Facts>,
}

impl Cart {
    pub async fn load(user_id: i64) -> Result<Self> {
        Self::run(&SHOW, user_id, vec![arg("")]).await
    }

    /// Adds so many of a product; 422 if that is too many, or the product is not on the shelf.
    pub async fn add(user_id: i64, product_id: i64, quantity: i64) -> Result<Self> {
        let (now, max_lines) = (Timestamp::now().0, i64::try_from(MAX_LINES).unwrap_or(i64::MAX));
        let values = vec![int(quantity), int(now), int(TTL_SECONDS), int(MAX_QUANTITY), int(max_lines)];
        Self::run_on_shelf(&ADD, user_id, product_id, values).await
    }

    /// Sets what is given; 404 if the product is not in the cart, 422 if what is off the shelf is to be selected.
    pub async fn set(user_id: i64, product_id: i64, quantity: Option<i64>, selected: Option<bool>) -> Result<Self> {
        let quantity = quantity.map(|n| n.to_string()).unwrap_or_default();
        let selected = selected.map_or("", |selected| if selected { "1" } else { "0" });
        Self::run_on_shelf(&SET, user_id, product_id, vec![arg(quantity), arg(selected), int(TTL_SECONDS)]).await
    }

    pub async fn remove(user_id: i64, product_id: i64) -> Result<Self> {
        Self::run(&REMOVE, user_id, vec![int(product_id)]).await
    }

    pub async fn clear(user_id: i64) -> Result<Self> {
        redis::command("DEL", vec![arg(key(user_id))]).await?;
        Ok(Cart::default())
    }

    /// Begins a checkout, which [`Cart::end_checkout`] ends; 409 while another of the same cart is under way: it would buy
    /// the same things again.
    pub async fn begin_checkout(user_id: i64) -> Result<()> {
        let values = vec![arg(checkout_key(user_id)), arg(""), arg("NX"), arg("PX"), int(LONGEST_CHECKOUT_MS)];
        match redis::command("SET", values).await?.text(0) {
            Some(_) => Ok(()),
            None => {
                let detail = "Another checkout of this cart is under way";
                Err(Problem::new(Code::IdempotencyInProgress, detail).with_retry_after(1))
            }
        }
    }

    /// Takes out what was bought.
    pub async fn end_checkout(user_id: i64, bought: &[Line]) -> Result<()> {
        let values = bought.iter().flat_map(|line| [int(line.product_id), int(line.quantity)]).collect();
        TAKE_OUT.run(&[&key(user_id), &checkout_key(user_id)], values).await.map(drop)
    }

    /// What a checkout would buy, as far as it is on the shelf.
    pub fn selected(&self) -> Vec<Line> {
        let selected = self.0.iter().filter(|entry| entry.selected);
        selected.map(|entry| Line { product_id: entry.product_id, quantity: entry.quantity }).collect()
    }

    /// Runs a script that may ask for the product to be on the shelf: first by what Redis knows of it, and if that is
    /// nothing, by what MySQL does.
    async fn run_on_shelf(
        script: &Script,
        user_id: i64,
        product_id: i64,
        values: Vec<redis::RedisParameter>,
    ) -> Result<Self> {
        let arguments = |checked| [int(product_id), arg(checked)].into_iter().chain(values.iter().cloned()).collect();
        match Self::try_run(script, user_id, arguments("")).await? {
            Ok(cart) => Ok(cart),
            Err(Unknown) => {
                let found = facts::read(&[product_id]).await?;
                if !found.get(&product_id).is_some_and(|facts| facts.on_shelf) {
                    return Err(not_on_shelf());
                }
                Self::run(script, user_id, arguments("1")).await
            }
        }
    }

    async fn run(script: &Script, user_id: i64, arguments: Vec<redis::RedisParameter>) -> Result<Self> {
        Self::try_run(script, user_id, arguments).await?.map_err(|Unknown| Problem::internal())
    }

    async fn try_run(
        script: &Script,
        user_id: i64,
        arguments: Vec<redis::RedisParameter>,
    ) -> Result<std::result::Result<Self, Unknown>> {
        let reply = script.run(&[&key(user_id)], arguments).await?;
        match reply.text(0).unwrap_or_default() {
            "ok" => Ok(Ok(Self::from_reply(reply.get(1..).unwrap_or_default()))),
            "unknown" => Ok(Err(Unknown)),
            "off" => Err(not_on_shelf()),
            "absent" => Err(Problem::not_found("product in the cart")),
            "quantity" => Err(Problem::invalid("quantity", format!("must not come to more than {MAX_QUANTITY}"))),
            "full" => Err(Problem::invalid("product_id", format!("a cart holds {MAX_LINES} products"))),
            _ => Err(Problem::internal()),
        }
    }

    fn from_reply(reply: &[RedisResult]) -> Self {
        let mut entries: Vec<_> = reply.chunks_exact(3).filter_map(Entry::from_reply).collect();
        entries.sort_by_key(|entry| (entry.added_at, entry.product_id));
        Cart(entries)
    }
}

/// Redis has nothing to tell whether the product is on the shelf.
struct Unknown;

fn not_on_shelf() -> Problem {
    Problem::invalid("product_id", "is no product on the shelf")
}

impl Entry {
    fn from_reply(fields: &[RedisResult]) -> Option<Self> {
        let mut value = fields.text(1)?.split(':');
        Some(Entry {
            product_id: fields.int(0)?,
            quantity: value.next()?.parse().ok()?,
            selected: value.next()? == "1",
            added_at: value.next()?.parse().ok()?,
            facts: fields.text(2).and_then(|json| serde_json::from_str(json).ok()),
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
    /// Its part of the discounts.
    pub discount_cents: Cents,
}

impl Cart {
    /// Today's names, prices and stock, and what the selected items come to, with the coupon if there is one.
    pub async fn view(mut self, user_id: i64, coupon: Option<&Usable>, currency: &str) -> Result<CartView> {
        let missing: Vec<_> = self.0.iter().filter(|entry| entry.facts.is_none()).map(|e| e.product_id).collect();
        let mut read = facts::read(&missing).await?;
        let shown: Vec<_> = self
            .0
            .iter_mut()
            .filter_map(|entry| {
                let facts = entry.facts.take().or_else(|| read.remove(&entry.product_id))?;
                Some((entry, facts))
            })
            .collect();
        let counts = |entry: &Entry, facts: &Facts| entry.selected && facts.on_shelf;
        let selected = shown.iter().filter(|(entry, facts)| counts(entry, facts));
        let lines = selected.map(|(entry, facts)| PricedLine {
            product_id: entry.product_id,
            categories: facts.categories.clone(),
            price_cents: facts.price_cents,
            quantity: entry.quantity,
        });
        let promotions = promotion::recent().await?;
        let terms = Terms { user_id, promotions: &promotions, coupon, currency };
        let (totals, prices) = price(lines.collect(), &terms)?;
        let mut prices = prices.into_iter();
        let items = shown.into_iter().map(|(entry, facts)| {
            let selected = counts(entry, &facts);
            let priced = if selected { prices.next() } else { None };
            CartItem {
                product_id: entry.product_id,
                name: facts.name,
                image_url: facts.image_url,
                price_cents: facts.price_cents,
                quantity: entry.quantity,
                selected,
                available: if facts.on_shelf { facts.available } else { 0 },
                amount_cents: Cents(facts.price_cents.0.saturating_mul(entry.quantity)),
                discount_cents: priced.map(|price| price.discount_cents).unwrap_or_default(),
            }
        });
        Ok(CartView { items: items.collect(), totals })
    }
}
