//! The cart: a Redis hash for each user. Scripts change it, so that concurrent changes from two devices are not lost.

use kit::{
    Cents, Code, Problem, ProductId, Result, Timestamp, User, UserId, log,
    mysql::{self, Transaction},
    random,
    redis::{self, RedisParameter, RedisResult, Reply, Script, arg, int},
};
use products::{Line, ProductSummary, product_cache};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    MAX_LINES, MAX_QUANTITY,
    coupon::{self, Redeemable},
    pricing::{Error, PricedLine, Quote, Terms, price},
    promotion,
};

/// The lifetime of a checkout's lock, in milliseconds: a little less than a request's deadline, so that a client whose
/// checkout failed can retry at once. The checkout's transaction has three seconds.
const CHECKOUT_LOCK_MS: i64 = 4400;
const TTL_SECONDS: i64 = 90 * 24 * 60 * 60;

/// The beginning of the scripts for requests; those that write check that first. The field of a product is its id, the value `quantity:selected:added_at`. A reply is
/// one flat list: the outcome, then for each product its field, its value, and its cached summary or an empty text.
/// `not_for_sale` returns an outcome if the product is not cached or off the shelf. If ARGV[2] is `1` it returns
/// nothing, since the caller has checked that in MySQL.
macro_rules! script {
    (write $body:literal) => {
        script!(concat kit::write_lua!(), $body)
    };
    (read $body:literal) => {
        script!(concat "", $body)
    };
    (concat $check:expr, $body:literal) => {
        Script::new(concat!(
            $check,
            r"
            local cart, id = KEYS[1], ARGV[1]
            local value = id ~= '' and redis.call('HGET', cart, id)
            local quantity, selected, added
            if value then quantity, selected, added = value:match('^(%d+):(%d):(%d+)$') end
            local function respond(outcome)
                local reply, fields = {outcome}, redis.call('HGETALL', cart)
                for i = 1, #fields, 2 do
                    table.insert(reply, fields[i])
                    table.insert(reply, fields[i + 1])
                    table.insert(reply, redis.call('GET', 'product:' .. fields[i]) or '')
                end
                return reply
            end
            local function put(quantity, selected, added, ttl)
                redis.call('HSET', cart, id, quantity .. ':' .. selected .. ':' .. added)
                redis.call('EXPIRE', cart, ttl)
                return respond('ok')
            end
            local function not_for_sale()
                if ARGV[2] == '1' then return nil end
                local product = redis.call('GET', 'product:' .. id)
                if not product then return {'unknown'} end
                if not cjson.decode(product).on_shelf then return {'off'} end
            end
            ",
            $body
        ))
    };
}

/// ARGV: ''.
static SHOW: Script = script!(read "return respond('ok')");

/// ARGV: id, whether MySQL was checked, quantity to add, now, TTL, maximum quantity, maximum number of products.
static ADD: Script = script!(
    write r"
    local refusal = not_for_sale()
    if refusal then return refusal end
    local sum = (tonumber(quantity) or 0) + tonumber(ARGV[3])
    if sum > tonumber(ARGV[6]) then return respond('quantity') end
    if not value and redis.call('HLEN', cart) >= tonumber(ARGV[7]) then return respond('full') end
    return put(sum, 1, added or ARGV[4], ARGV[5])"
);

/// ARGV: id, whether MySQL was checked, quantity or '', selected or '', TTL.
static SET: Script = script!(
    write r"
    if not value then return respond('absent') end
    local refusal = ARGV[4] == '1' and not_for_sale()
    if refusal then return refusal end
    if ARGV[3] ~= '' then quantity = ARGV[3] end
    if ARGV[4] ~= '' then selected = ARGV[4] end
    return put(quantity, selected, added, ARGV[5])"
);

/// ARGV: id.
static REMOVE: Script = script!(
    write r"
    redis.call('HDEL', cart, id)
    return respond('ok')"
);

/// ARGV: ''.
static CLEAR: Script = script!(
    write r"
    redis.call('DEL', cart)
    return respond('ok')"
);

/// KEYS: cart, its checkout lock. ARGV: the lock's owner, then pairs of id and quantity that were bought. What was added
/// in the meantime stays.
static REMOVE_BOUGHT: Script = Script::new(
    r"
    if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
    for i = 2, #ARGV, 2 do
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

/// KEYS: a checkout lock. ARGV: its owner.
static UNLOCK: Script = Script::new(
    r"
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0",
);

fn key(user_id: UserId) -> String {
    format!("cart:{user_id}")
}

fn checkout_key(user_id: UserId) -> String {
    format!("checkout:{user_id}")
}

/// The contents of a cart, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Cart(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    product_id: ProductId,
    quantity: i64,
    selected: bool,
    added_at: i64,
    /// Its summary, if that is cached.
    product: Option<ProductSummary>,
}

/// The methods that change it check the write (see [`Script::run_write`]).
impl Cart {
    pub async fn load(user_id: UserId) -> Result<Self> {
        let reply = SHOW.run(&[&key(user_id)], vec![arg("")]).await?;
        Ok(Self::from_reply(reply.get(1..).unwrap_or_default()))
    }

    /// Deletes a user's cart, for a worker.
    pub async fn delete(user_id: UserId) -> Result<()> {
        redis::command("DEL", vec![arg(key(user_id))]).await.map(drop)
    }

    /// Adds `quantity` of a product; 422 if that is too much, or the product is not on the shelf.
    pub async fn add(user: &User, product_id: ProductId, quantity: i64) -> Result<Self> {
        let (now, max_lines) = (Timestamp::now().0, i64::try_from(MAX_LINES).unwrap_or(i64::MAX));
        let values = vec![int(quantity), int(now), int(TTL_SECONDS), int(MAX_QUANTITY), int(max_lines)];
        Self::run_for_sale(&ADD, user, product_id, values).await
    }

    /// Sets the given values; 404 if the product is not in the cart, 422 if a product that is off the shelf is to be
    /// selected.
    pub async fn set(
        user: &User,
        product_id: ProductId,
        quantity: Option<i64>,
        selected: Option<bool>,
    ) -> Result<Self> {
        let quantity = quantity.map(|n| n.to_string()).unwrap_or_default();
        let selected = selected.map_or("", |selected| if selected { "1" } else { "0" });
        Self::run_for_sale(&SET, user, product_id, vec![arg(quantity), arg(selected), int(TTL_SECONDS)]).await
    }

    pub async fn remove(user: &User, product_id: ProductId) -> Result<Self> {
        Self::run(&REMOVE, user, vec![int(product_id.get())]).await
    }

    pub async fn clear(user: &User) -> Result<Self> {
        Self::run(&CLEAR, user, vec![arg("")]).await
    }

    /// Begins a checkout, which [`CheckoutLock::complete`] or [`CheckoutLock::abandon`] ends. 409 while another checkout
    /// of the same cart is in progress, which would order the same items again.
    pub async fn begin_checkout(user_id: UserId) -> Result<CheckoutLock> {
        let owner = random::token::<12>()?;
        let values = vec![arg(checkout_key(user_id)), arg(&owner), arg("NX"), arg("PX"), int(CHECKOUT_LOCK_MS)];
        match redis::command("SET", values).await?.text(0) {
            Some(_) => Ok(CheckoutLock { user_id, owner }),
            None => {
                let detail = "Another checkout of this cart is in progress";
                Err(Problem::new(Code::IdempotencyInProgress, detail).with_retry_after(1))
            }
        }
    }

    /// All lines.
    pub fn lines(&self) -> Vec<Line> {
        self.0.iter().map(|entry| Line { product_id: entry.product_id, quantity: entry.quantity }).collect()
    }

    /// The selected lines, including products that have left the shelf since.
    pub fn selected(&self) -> Vec<Line> {
        let selected = self.0.iter().filter(|entry| entry.selected);
        selected.map(|entry| Line { product_id: entry.product_id, quantity: entry.quantity }).collect()
    }

    /// Runs a script that may require the product to be on the shelf. That is looked up in the cache and, if it is not
    /// there, in MySQL, and the script runs again.
    async fn run_for_sale(
        script: &'static Script,
        user: &User,
        product_id: ProductId,
        values: Vec<RedisParameter>,
    ) -> Result<Self> {
        let arguments =
            |checked| [int(product_id.get()), arg(checked)].into_iter().chain(values.iter().cloned()).collect();
        match Self::outcome(script.run_write(user.id, user.session_id, &[&key(user.id)], arguments("")).await?)? {
            Ok(cart) => Ok(cart),
            Err(NotCached) => {
                let found = product_cache::read_through(&[product_id]).await?;
                if !found.get(&product_id).is_some_and(|product| product.on_shelf) {
                    return Err(not_on_shelf());
                }
                Self::expect_cart(
                    script.run_write_again(user.id, user.session_id, &[&key(user.id)], arguments("1")).await?,
                )
            }
        }
    }

    async fn run(script: &'static Script, user: &User, arguments: Vec<RedisParameter>) -> Result<Self> {
        Self::expect_cart(script.run_write(user.id, user.session_id, &[&key(user.id)], arguments).await?)
    }

    fn expect_cart(reply: Vec<RedisResult>) -> Result<Self> {
        Self::outcome(reply)?
            .map_err(|NotCached| Problem::internal().because("the cart script reported a missing cache entry twice"))
    }

    fn outcome(reply: Vec<RedisResult>) -> Result<std::result::Result<Self, NotCached>> {
        match reply.text(0).unwrap_or_default() {
            "ok" => Ok(Ok(Self::from_reply(reply.get(1..).unwrap_or_default()))),
            "unknown" => Ok(Err(NotCached)),
            "off" => Err(not_on_shelf()),
            "absent" => Err(Problem::not_found("product in the cart")),
            "quantity" => Err(Problem::invalid("quantity", format!("must not exceed {MAX_QUANTITY} in total"))),
            "full" => Err(Problem::invalid(
                "product_id",
                format!("must not be added: a cart has at most {MAX_LINES} products"),
            )),
            other => Err(Problem::internal().because(format!("unknown outcome of the cart script: {other}"))),
        }
    }

    fn from_reply(reply: &[RedisResult]) -> Self {
        let mut entries: Vec<_> = reply.chunks_exact(3).filter_map(Entry::from_reply).collect();
        entries.sort_by_key(|entry| (entry.added_at, entry.product_id));
        Cart(entries)
    }
}

/// The lock of a cart whose checkout is in progress. Only this checkout releases it: once it has expired, another one may
/// have it.
pub struct CheckoutLock {
    user_id: UserId,
    owner: String,
}

impl CheckoutLock {
    /// Removes the ordered items from the cart, after the commit. The order remains valid even if Redis fails.
    pub fn complete(&self, tx: &mut Transaction, bought: impl IntoIterator<Item = Line>) {
        let lines = bought.into_iter().flat_map(|line| [int(line.product_id.get()), int(line.quantity)]);
        let values = std::iter::once(arg(&self.owner)).chain(lines).collect();
        let keys = [key(self.user_id), checkout_key(self.user_id)];
        tx.after_commit(async move {
            let removed = REMOVE_BOUGHT.run(&keys.each_ref().map(String::as_str), values).await;
            log::warn_if_failed("the ordered items could not be removed from the cart", removed);
        });
    }

    /// Ends a checkout that did not place an order.
    pub async fn abandon(self) {
        let unlocked = UNLOCK.run(&[&checkout_key(self.user_id)], vec![arg(&self.owner)]).await;
        log::warn_if_failed("the checkout lock was not released", unlocked);
    }
}

/// The product is not cached.
struct NotCached;

fn not_on_shelf() -> Problem {
    Problem::invalid("product_id", "is not a product on the shelf")
}

impl Entry {
    fn from_reply(fields: &[RedisResult]) -> Option<Self> {
        let mut value = fields.text(1)?.split(':');
        Some(Entry {
            product_id: fields.int(0)?.try_into().ok()?,
            quantity: value.next()?.parse().ok()?,
            selected: value.next()? == "1",
            added_at: value.next()?.parse().ok()?,
            product: fields.text(2).and_then(|json| serde_json::from_str(json).ok()),
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
    pub product_id: ProductId,
    #[schema(example = "Wireless headphones")]
    pub name: String,
    #[schema(required)]
    pub image_url: Option<String>,
    pub price_cents: Cents,
    #[schema(minimum = 1, maximum = 999, example = 2)]
    pub quantity: i64,
    /// Counts towards the totals, and is bought at checkout.
    pub selected: bool,
    /// How many can be ordered; 0 for a product that has left the shelf.
    #[schema(minimum = 0)]
    pub available: i64,
    pub amount_cents: Cents,
    /// Its share of the discounts.
    pub discount_cents: Cents,
}

impl Cart {
    /// The cart with current names, prices and stock, priced with the coupon if there is one. 409 `coupon_invalid` if
    /// the coupon does not apply.
    pub async fn view(mut self, user_id: UserId, coupon: Option<&Redeemable>, currency: &str) -> Result<CartView> {
        let missing: Vec<_> = self.0.iter().filter(|entry| entry.product.is_none()).map(|e| e.product_id).collect();
        let mut read = product_cache::read_through(&missing).await?;
        let shown: Vec<_> = self
            .0
            .iter_mut()
            .filter_map(|entry| {
                let product = entry.product.take().or_else(|| read.remove(&entry.product_id))?;
                Some((entry, product))
            })
            .collect();
        let is_counted = |entry: &Entry, product: &ProductSummary| entry.selected && product.on_shelf;
        let selected = shown.iter().filter(|(entry, product)| is_counted(entry, product));
        let lines = selected.map(|(entry, product)| PricedLine {
            product_id: entry.product_id,
            categories: product.categories.clone(),
            price_cents: product.price_cents,
            quantity: entry.quantity,
        });
        let promotions = promotion::active_cached().await?;
        let terms = Terms { user_id, promotions: &promotions, coupon, currency };
        let (totals, prices) = match price(lines.collect(), &terms) {
            Ok(priced) => priced,
            Err(Error::Coupon(refusal)) => {
                return Err(coupon::refused(&mut mysql::connection().await?, user_id, refusal).await);
            }
            Err(Error::Other(problem)) => return Err(problem),
        };
        let mut prices = prices.into_iter();
        let items = shown.into_iter().map(|(entry, product)| {
            let selected = is_counted(entry, &product);
            let priced = if selected { prices.next() } else { None };
            CartItem {
                product_id: entry.product_id,
                name: product.name,
                image_url: product.image_url,
                price_cents: product.price_cents,
                quantity: entry.quantity,
                selected,
                available: if product.on_shelf { product.available } else { 0 },
                amount_cents: Cents(product.price_cents.0.saturating_mul(entry.quantity)),
                discount_cents: priced.map(|price| price.discount_cents).unwrap_or_default(),
            }
        });
        Ok(CartView { items: items.collect(), totals })
    }
}
