//! `spin:mysql`. Connections come from a pool that functions don't notice; every statement is a prepared one.

pub mod pool;
mod values;

use std::sync::Arc;

use mysql_async::Params;
use mysql_async::prelude::Queryable;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, FutureReader, HasSelf, Resource, StreamReader};

use crate::bindings::spin::mysql::mysql::{self as wit, Column, Error, ParameterValue, Row};
use crate::guest::Guest;
use pool::{Connection, PooledConnection};

/// The largest result in bytes, as in Spin.
const MAX_RESULT: usize = 128 << 20;
impl wit::Host for Guest {}

impl wit::HostConnection for Guest {
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> wit::HostConnectionWithStore<T> for HasSelf<Guest> {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Result<Resource<Connection>, Error> {
        let (config, services) = accessor.with(|mut access| {
            let guest = access.get();
            (guest.config.clone(), guest.services.clone())
        });
        if !config.hosts.allow(&address, "mysql") {
            // Spin names the address, password included.
            return Err(Error::ConnectionFailed("the address is not permitted".into()));
        }
        let connection = services.mysql.open(&address).await.map_err(|e| Error::ConnectionFailed(format!("{e:?}")))?;
        let connection = Connection(Arc::new(Mutex::new(connection)));
        accessor
            .with(|mut access| access.get().table.push(connection))
            .map_err(|_| Error::ConnectionFailed("too many connections".into()))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> Result<(), Error> {
        let connection = find(accessor, &connection)?;
        let mut connection = connection.lock().await;
        let params = Params::Positional(params.into_iter().map(values::parameter).collect());
        connection
            .run(&statement, async |conn| conn.exec_drop(&statement, params).await)
            .await
            .map_err(|e| Error::QueryFailed(format!("{e:?}")))
    }

    /// All rows are read at once, so that the guest can execute another statement on the connection before it has
    /// consumed them.
    async fn query(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>), Error> {
        let connection = find(accessor, &connection)?;
        let params = Params::Positional(params.into_iter().map(values::parameter).collect());
        let fetched = connection.lock().await.run(&statement, async |conn| fetch(conn, &statement, params).await).await;
        let (columns, rows, end) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::debug!(%error, "query failed");
                // Spin does not pass on the actual error.
                return Err(Error::Other("async error: channel closed".into()));
            }
        };
        accessor
            .with(|mut access| {
                let rows = StreamReader::new(&mut access, rows)?;
                let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(end) })?;
                wasmtime::error::Ok((columns, rows, end))
            })
            .map_err(|e| Error::Other(e.to_string()))
    }
}

fn find<T: Send>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    connection: &Resource<Connection>,
) -> Result<Arc<Mutex<PooledConnection>>, Error> {
    accessor
        .with(|mut access| access.get().table.get(connection).map(|c| c.0.clone()))
        .map_err(|_| Error::ConnectionFailed("no connection found".into()))
}

type Fetched = (Vec<Column>, Vec<Row>, Result<(), Error>);

async fn fetch(conn: &mut mysql_async::Conn, statement: &str, params: Params) -> Result<Fetched, mysql_async::Error> {
    let mut result = conn.exec_iter(statement, params).await?;
    let columns = result.columns().unwrap_or_default();
    let columns: Vec<_> = columns.iter().map(values::column).collect();
    let (mut rows, mut size) = (Vec::new(), 0);
    let end = loop {
        let row = match result.next().await {
            Ok(Some(row)) => row,
            Ok(None) => break Ok(()),
            // An error that the server reports after some rows ends the result. A broken connection fails the query.
            Err(mysql_async::Error::Server(e)) => {
                break Err(Error::Other(mysql_async::Error::Server(e).to_string()));
            }
            Err(error) => return Err(error),
        };
        match values::row(row, &columns, &mut size) {
            Ok(row) if size <= MAX_RESULT => rows.push(row),
            Ok(_) => {
                let reason = format!("query result exceeds limit of {MAX_RESULT} bytes");
                break Err(Error::Other(reason));
            }
            Err(error) => break Err(error),
        }
    };
    result.drop_result().await?;
    Ok((columns, rows, end))
}
