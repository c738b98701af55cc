//! Wasmtime, configured for many short-lived instances, and the cache of compiled components.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How many instances the pool has room for, over all components.
pub const MAX_INSTANCES: u32 = 256;
/// How often a guest that is computing yields.
const EPOCH_LENGTH: Duration = Duration::from_millis(5);
/// Compiled components that have not been used for this long are removed.
const MAX_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// The engine, and the thread that advances its epoch.
pub struct EpochTicker {
    pub engine: Engine,
    stopped: Arc<AtomicBool>,
}

impl EpochTicker {
    pub fn start(memory: usize) -> wasmtime::Result<Self> {
        // The pool reserves address space. Where that is limited, memory is allocated for each instance.
        let engine = Engine::new(&config(Some(memory))).or_else(|_| Engine::new(&config(None)))?;
        let stopped = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let (engine, stopped) = (engine.weak(), stopped.clone());
            move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(EPOCH_LENGTH);
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            }
        });
        Ok(Self { engine, stopped })
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn config(pooled_memory: Option<usize>) -> Config {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    if let Some(memory) = pooled_memory {
        let mut pool = PoolingAllocationConfig::new();
        // This reserves address space only. A component consists of a handful of core instances, one with a dependency
        // of about twice as many.
        pool.total_component_instances(MAX_INSTANCES)
            .total_core_instances(MAX_INSTANCES * 10)
            .total_memories(MAX_INSTANCES * 2)
            .total_tables(MAX_INSTANCES * 8)
            .total_stacks(MAX_INSTANCES * 17)
            .max_memory_size(memory)
            .max_unused_warm_slots(32)
            .linear_memory_keep_resident(1 << 20)
            .pagemap_scan(wasmtime::Enabled::Auto)
            .max_component_instance_size(4 << 20)
            .max_core_instance_size(4 << 20);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Compiled components on disk. They are native code, so nobody but this user may be able to change them.
pub struct Cache {
    folder: Option<PathBuf>,
    compatibility: u64,
}

impl Cache {
    pub fn open(folder: Option<&Path>, engine: &Engine) -> std::io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let folder = folder.map(private_folder).transpose()?;
        if let Some(folder) = &folder {
            remove_unused(folder);
        }
        Ok(Self { folder, compatibility: hasher.finish() })
    }

    /// The compiled component that `inputs` identify: from the cache, else compiled from the Wasm that `build` returns.
    pub fn load(
        &self,
        engine: &Engine,
        inputs: &[&[u8]],
        build: impl FnOnce() -> wasmtime::Result<Vec<u8>>,
    ) -> wasmtime::Result<Component> {
        let Some(folder) = &self.folder else {
            return Component::new(engine, build()?);
        };
        let mut hash = Sha256::new();
        hash.update(self.compatibility.to_le_bytes());
        for input in inputs {
            hash.update((input.len() as u64).to_le_bytes());
            hash.update(input);
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(name).with_extension("cwasm");
        if let Ok(file) = std::fs::File::open(&path) {
            // SAFETY: nobody but this user can write to the folder, and the code below moves complete files there.
            match unsafe { Component::deserialize_file(engine, &path) } {
                Ok(component) => {
                    // The time of the last use, for `remove_unused`.
                    let _ = file.set_modified(SystemTime::now());
                    return Ok(component);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a cached component can't be used and is compiled again")
                }
            }
        }
        let compiled = engine.precompile_component(&build()?)?;
        let temporary = path.with_extension(unique_extension());
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        std::io::Write::write_all(&mut file, &compiled)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        // SAFETY: as above. It is mapped from the file, so that its pages are shared and can be evicted.
        unsafe { Component::deserialize_file(engine, &path) }
    }
}

/// Creates the folder, or uses an existing one if it belongs to this user.
fn private_folder(path: &Path) -> std::io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    let probe = path.join(unique_extension());
    let this_user = std::fs::File::create(&probe)?.metadata()?.uid();
    std::fs::remove_file(&probe)?;
    if std::fs::metadata(path)?.uid() != this_user {
        return Err(std::io::Error::other("the folder belongs to another user"));
    }
    path.canonicalize()
}

/// An extension for temporary files that is unique, also among the processes that share the folder.
fn unique_extension() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}.new", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn remove_unused(folder: &Path) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).map(|m| m.elapsed());
        if matches!(age, Ok(Ok(age)) if age > MAX_UNUSED) {
            // A file that can't be removed only takes up space.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
