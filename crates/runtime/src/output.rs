//! The output of functions. Every request logs a line, so this must be fast: instances append complete lines to a
//! buffer, and one thread each for stdout and stderr writes them in batches.

use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// How long the writer collects lines into a batch. This bounds it to a few hundred writes per second.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// Functions wait before they print more while this many bytes are buffered.
const MAX_BUFFERED: usize = 4 << 20;
/// Longer lines are split.
const MAX_LINE: usize = 64 << 10;

/// Stdout and stderr of all functions.
pub struct Output {
    out: Arc<Sink>,
    err: Arc<Sink>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sink {
    state: Mutex<State>,
    not_empty: Condvar,
    drained: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    closed: bool,
}

impl Output {
    pub fn start() -> Self {
        let (out, err) = (Arc::<Sink>::default(), Arc::<Sink>::default());
        let writers = vec![
            std::thread::spawn({
                let sink = out.clone();
                move || sink.write_to(&mut std::io::stdout())
            }),
            std::thread::spawn({
                let sink = err.clone();
                move || sink.write_to(&mut std::io::stderr())
            }),
        ];
        Self { out, err, writers: Mutex::new(writers) }
    }

    /// The stdout and stderr of an instance.
    pub fn streams(&self, component: &str) -> (LineStream, LineStream) {
        let prefix: Arc<str> = format!("[{component}] ").into();
        let new = |sink: &Arc<Sink>| {
            let buffer = LineBuffer { sink: sink.clone(), prefix: prefix.clone(), partial: Mutex::default() };
            LineStream(Arc::new(buffer))
        };
        (new(&self.out), new(&self.err))
    }

    /// Flushes the output and ends the writer threads.
    pub fn stop(&self) {
        for sink in [&self.out, &self.err] {
            sink.state().closed = true;
            sink.not_empty.notify_one();
        }
        let writers = std::mem::take(&mut *lock(&self.writers));
        for writer in writers {
            // If a writer panicked, there is nothing left to do.
            let _ = writer.join();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn push(&self, prefix: &str, lines: &[u8]) {
        let mut state = self.state();
        let was_empty = state.buffer.is_empty();
        for line in lines.split_inclusive(|b| *b == b'\n') {
            state.buffer.extend_from_slice(prefix.as_bytes());
            state.buffer.extend_from_slice(line);
        }
        drop(state);
        if was_empty {
            self.not_empty.notify_one();
        }
    }

    fn is_full(&self) -> bool {
        self.state().buffer.len() >= MAX_BUFFERED
    }

    fn write_to(&self, target: &mut dyn Write) {
        let mut batch = Vec::new();
        loop {
            let state = self
                .not_empty
                .wait_while(self.state(), |s| s.buffer.is_empty() && !s.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let mut state = if state.closed {
                state
            } else {
                drop(state);
                std::thread::sleep(BATCH_INTERVAL);
                self.state()
            };
            let is_last = state.closed;
            std::mem::swap(&mut state.buffer, &mut batch);
            drop(state);
            self.drained.notify_waiters();
            // If writing fails, there is nowhere to report it.
            let _ = target.write_all(&batch).and_then(|()| target.flush());
            batch.clear();
            batch.shrink_to(64 << 10);
            if is_last {
                return;
            }
        }
    }
}

/// One output stream of an instance. Clones share a buffer.
#[derive(Clone)]
pub struct LineStream(Arc<LineBuffer>);

/// Passes on complete lines, so that lines of different instances don't mix.
struct LineBuffer {
    sink: Arc<Sink>,
    prefix: Arc<str>,
    /// The beginning of a line whose end has not been written yet.
    partial: Mutex<Vec<u8>>,
}

impl LineBuffer {
    fn push(&self, bytes: &[u8]) {
        let mut partial = lock(&self.partial);
        let end_of_lines = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(end_of_lines);
        if !lines.is_empty() {
            if partial.is_empty() {
                self.sink.push(&self.prefix, lines);
            } else {
                partial.extend_from_slice(lines);
                self.sink.push(&self.prefix, &partial);
                partial.clear();
            }
        }
        partial.extend_from_slice(rest);
        if partial.len() >= MAX_LINE {
            partial.push(b'\n');
            self.sink.push(&self.prefix, &partial);
            partial.clear();
        }
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        let partial = self.partial.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !partial.is_empty() {
            partial.push(b'\n');
            self.sink.push(&self.prefix, partial);
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {
        while self.0.sink.is_full() {
            let drained = self.0.sink.drained.notified();
            if self.0.sink.is_full() {
                drained.await;
            }
        }
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_and_name_their_component() {
        let sink = Arc::<Sink>::default();
        let buffer = |prefix: &str| LineBuffer { sink: sink.clone(), prefix: prefix.into(), partial: Mutex::default() };
        let (a, b) = (buffer("[a] "), buffer("[b] "));
        a.push(b"one ");
        b.push(b"first\nsecond\nthi");
        a.push(b"line\nrest");
        drop(a);
        drop(b);
        sink.state().closed = true;
        let mut written = Vec::new();
        sink.write_to(&mut written);
        assert_eq!(String::from_utf8(written).unwrap(), "[b] first\n[b] second\n[a] one line\n[a] rest\n[b] thi\n");
    }
}
