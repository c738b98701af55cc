//! Wasmtime, set up for many short-lived instances, and the cache of compiled components.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Instances that may exist at once, over all components.
pub const MOST_INSTANCES: u32 = 256;
/// How often a guest that computes gives way.
const TICK: Duration = Duration::from_millis(5);
/// Compiled components that nothing has used for so long are removed.
const STALE: Duration = Duration::from_secs(14 * 24 * 3600);

/// The engine, with its clock.
pub struct Clock {
    pub engine: Engine,
    stopped: Arc<AtomicBool>,
}

impl Clock {
    pub fn start(memory: usize) -> wasmtime::Result<Self> {
        // Without room for the pool's reservations (a limit on virtual memory), instances get their memory one by one.
        let engine = Engine::new(&config(Some(memory))).or_else(|_| Engine::new(&config(None)))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let ticking = (engine.weak(), stopped.clone());
        std::thread::spawn(move || {
            let (engine, stopped) = ticking;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        });
        Ok(Self { engine, stopped })
    }
}

impl Drop for Clock {
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
        // Only address space, until it is used. A component is a handful of core instances, two with a dependency.
        pool.total_component_instances(MOST_INSTANCES)
            .total_core_instances(MOST_INSTANCES * 10)
            .total_memories(MOST_INSTANCES * 2)
            .total_tables(MOST_INSTANCES * 8)
            .total_stacks(MOST_INSTANCES * 17)
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

/// Compiled components on disk, private to this user: they are native code.
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
            remove_stale(folder);
        }
        Ok(Self { folder, compatibility: hasher.finish() })
    }

    /// What is identified by `inputs`, compiled: from the cache, or from what `build` gives.
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
            // SAFETY: the folder is this user's alone, and the file was moved there whole by the code below.
            match unsafe { Component::deserialize_file(engine, &path) } {
                Ok(component) => {
                    // When it was used last, for `remove_stale`.
                    let _ = file.set_modified(SystemTime::now());
                    return Ok(component);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "a compiled component is unusable"),
            }
        }
        let compiled = engine.precompile_component(&build()?)?;
        let unfinished = path.with_extension(unique());
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        std::io::Write::write_all(&mut file, &compiled)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        // SAFETY: as above. From the file, so that its pages are shared and can be dropped.
        unsafe { Component::deserialize_file(engine, &path) }
    }
}

/// Makes the folder, or takes it over if nobody else can write to it.
fn private_folder(path: &Path) -> std::io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    let probe = path.join(unique());
    let own = std::fs::File::create(&probe)?.metadata()?.uid();
    std::fs::remove_file(&probe)?;
    if std::fs::metadata(path)?.uid() != own {
        return Err(std::io::Error::other("the folder belongs to another user"));
    }
    path.canonicalize()
}

/// A file name that nobody else is using, in this process or another.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}.new", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn remove_stale(folder: &Path) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).map(|m| m.elapsed());
        if matches!(age, Ok(Ok(age)) if age > STALE) {
            // It costs no more than room.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
