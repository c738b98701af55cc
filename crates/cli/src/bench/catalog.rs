//! A catalogue of a hundred thousand products: lists, details and several kinds of searches, beside a native client
//! that searches the same database with `LIKE '%…%'`. Each request differs from those before it, so that no cache
//! answers it.

use std::time::Duration;

use load::{
    plan::{Outcome, Plan, Work},
    table::{self, Row},
};
use mysql_async::{Conn, prelude::Queryable};

use super::{
    Arguments,
    subject::{Load, Subject},
};
use crate::{database, search_index, temporary_shop::TemporaryShop};

const PRODUCTS: usize = 100_000;
const CONNECTIONS: usize = 8;
/// Different requests in a plan.
const PATHS: usize = 5000;

const BRANDS: [&str; 20] = [
    "华为",
    "小米",
    "Apple",
    "荣耀",
    "OPPO",
    "vivo",
    "三星 Samsung",
    "联想 Lenovo",
    "索尼 Sony",
    "佳能 Canon",
    "美的",
    "海尔",
    "格力",
    "飞利浦 Philips",
    "安克 Anker",
    "绿联",
    "倍思 Baseus",
    "罗技 Logitech",
    "大疆 DJI",
    "漫步者",
];
const THINGS: [&str; 25] = [
    "智能手机",
    "手机壳",
    "手机支架",
    "钢化膜",
    "充电器",
    "数据线",
    "移动电源",
    "蓝牙耳机",
    "降噪耳机",
    "笔记本电脑",
    "平板电脑",
    "机械键盘",
    "无线鼠标",
    "显示器",
    "路由器",
    "智能手表",
    "运动手环",
    "数码相机",
    "镜头",
    "无人机",
    "电饭煲",
    "空气炸锅",
    "吸尘器",
    "台灯",
    "音箱",
];
const KINDS: [&str; 12] =
    ["磁吸", "透明", "轻薄", "旗舰", "商务", "学生", "家用", "便携", "快充", "防水", "Pro Max", "Lite"];
const COLOURS: [&str; 8] = ["曜石黑", "云雾白", "远峰蓝", "青山绿", "樱花粉", "星光色", "Black", "Silver"];

/// A name that contains the product's number, so that no two are the same.
pub fn name(n: usize) -> String {
    // Pseudo-random, and the same in every run.
    let pick = |of: &[&'static str], salt: usize| of[(n.wrapping_mul(2_654_435_761) >> salt) % of.len()];
    let (brand, thing) = (pick(&BRANDS, 3), pick(&THINGS, 9));
    format!("{brand} {}{thing} X{n} {}", pick(&KINDS, 13), pick(&COLOURS, 17))
}

async fn fill(mysql: &mut Conn) -> anyhow::Result<()> {
    let step = progress::step(&format!("Inserting {PRODUCTS} products"));
    let numbers: Vec<usize> = (0..PRODUCTS).collect();
    for numbers in numbers.chunks(1000) {
        let rows: Vec<_> = numbers
            .iter()
            .map(|n| {
                let (price, sold) = (1000 + n * 7919 % 1_000_000, n * 104_729 % 5000);
                format!(
                    "('{}', '通用描述，质量可靠，全国联保。', 1 + {n} % 20, {price}, 100, {sold}, 1, {n}, {n})",
                    name(*n)
                )
            })
            .collect();
        let sql = format!(
            "INSERT INTO products (name, description, category_id, price_cents, available, sold, on_shelf, created_at,
                                   updated_at)
             VALUES {}",
            rows.join(",")
        );
        mysql.query_drop(sql).await?;
    }
    drop(step);
    let step = progress::step("Building the search index");
    search_index::add_missing(mysql).await?;
    mysql.query_drop("ANALYZE TABLE products, product_terms").await?;
    drop(step);
    Ok(())
}

pub async fn run(scratch: &TemporaryShop, arguments: &Arguments) -> anyhow::Result<()> {
    let mut mysql = database::connect(&scratch.databases.mysql).await?;
    fill(&mut mysql).await?;
    let ids: Vec<i64> = mysql.query("SELECT id FROM products ORDER BY id").await?;
    let shop = Subject::shop(scratch).await?;
    // `n` changes nothing in the reply, but makes each request differ from the others.
    let http = |path: &dyn Fn(usize) -> String| Work::Paths {
        address: shop.address,
        paths: (0..PATHS).map(|n| format!("{}&n={n}", path(n))).collect(),
    };
    let search = |q: &dyn Fn(usize) -> String| {
        http(&|n| {
            format!(
                "/api/product?q={}",
                percent_encoding::utf8_percent_encode(&q(n), percent_encoding::NON_ALPHANUMERIC)
            )
        })
    };
    let like = |q: &dyn Fn(usize) -> Vec<String>| Work::Like {
        url: scratch.databases.mysql.to_url(),
        patterns: (0..PATHS).map(|n| q(n).iter().map(|word| format!("%{word}%")).collect()).collect(),
    };
    let common = |_: usize| "手机".to_owned();
    let rare = |n: usize| format!("x{}", n * 37 % PRODUCTS + 10_000);
    let two = |n: usize| [BRANDS[n % 2], THINGS[1 + n / 2 % 20]].map(str::to_owned);
    let spread = |n: usize| ids[n * 104_729 % ids.len()];
    let works = [
        ("detail", http(&|n| format!("/api/product/{}?", spread(n)))),
        ("list, newest, 20 items", http(&|_| "/api/product?limit=20".to_owned())),
        ("list of a category by sales", http(&|n| format!("/api/product?category_id={}&sort=sold", 1 + n % 20))),
        ("related", http(&|n| format!("/api/product/{}/related?limit=10", spread(n)))),
        ("search: a common pair (手机)", search(&common)),
        ("search: a rare word (x12345)", search(&rare)),
        ("search: two words (华为 手机壳)", search(&|n| two(n).join(" "))),
        ("yardstick: LIKE, a common pair", like(&|n| vec![common(n)])),
        ("yardstick: LIKE, a rare word", like(&|n| vec![rare(n)])),
        ("yardstick: LIKE, two words", like(&|n| two(n).to_vec())),
    ];
    let mut rounds: Vec<Vec<Outcome>> = works.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds() {
        for ((title, work), outcomes) in works.iter().zip(&mut rounds) {
            let step = progress::step(&format!("Round {round} of {}: {title}", arguments.rounds()));
            let plan = Plan {
                work: work.clone(),
                connections: CONNECTIONS,
                warm_up: Duration::from_secs(1),
                duration: Duration::from_secs_f64(arguments.seconds()),
                pause: Duration::ZERO,
            };
            outcomes.push(Load::start(&plan)?.finish().await?);
            drop(step);
        }
    }
    let rows: Vec<_> =
        works.iter().zip(rounds).map(|((title, _), rounds)| Row { name: (*title).to_owned(), rounds }).collect();
    println!(
        "\n{} products, {CONNECTIONS} connections, {} × {} s each, interleaved; p99 of a search: at most 50 ms",
        ids.len(),
        arguments.rounds(),
        arguments.seconds()
    );
    table::print(&rows);
    println!();
    for kind in ["a common pair", "a rare word", "two words"] {
        table::compare(&rows, &format!("search: {kind}"), &format!("yardstick: LIKE, {kind}"), "no target");
    }
    shop.stop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spread_over_all_brands_and_things() {
        for part in BRANDS.iter().chain(&THINGS).chain(&KINDS).chain(&COLOURS) {
            let count = (0..PRODUCTS).filter(|n| name(*n).contains(part)).count();
            assert!((PRODUCTS / 50..PRODUCTS / 5).contains(&count), "{part}: {count}");
        }
        assert!((0..PRODUCTS).all(|n| (1..=200).contains(&name(n).chars().count()) && !name(n).contains('\'')));
    }
}
