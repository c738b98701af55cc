//! The interfaces of `wit/`, generated.

wasmtime::component::bindgen!({
    path: "wit",
    world: "wasmall:host/functions",
    imports: {
        "spin:mysql/mysql.[drop]connection": trappable,
        "spin:redis/redis.[drop]connection": trappable,
        default: store,
    },
    with: {
        "spin:mysql/mysql.connection": crate::mysql::Connection,
        "spin:redis/redis.connection": crate::redis::Connection,
    },
});

/// The world of a function that hears a Redis channel.
pub mod subscriber {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "wasmall:host/subscriber",
        exports: { default: async | store },
    });
}
