//! Generated from the interfaces in `wit/`.

wasmtime::component::bindgen!({
    path: "wit",
    world: "wasmall:runtime/functions",
    imports: {
        "spin:mysql/mysql.[drop]connection": trappable,
        "spin:redis/redis.[drop]connection": trappable,
        default: store,
    },
    with: {
        "spin:mysql/mysql.connection": crate::mysql::pool::Connection,
        "spin:redis/redis.connection": crate::redis::connection::Connection,
    },
});

/// The world of a function that Redis messages trigger.
pub mod subscriber {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "wasmall:runtime/subscriber",
        exports: { default: async | store },
    });
}
