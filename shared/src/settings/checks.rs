//! How fields are read whose type allows more than the setting does, and defaults that depend on other settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;
use super::value::FromSetting as _;
use crate::rpc::Endpoint;

/// Sizes that a message or a request body can be limited to.
pub(super) const MESSAGE_BYTES: RangeInclusive<usize> = 1..=64 << 20;
/// Threads of one process.
pub(super) const THREADS_MAX: usize = 256;

type Read<T> = Result<T, SettingsError>;

/// A duration that is not zero.
pub(super) fn positive(layers: &Layers, spec: &'static Spec) -> Read<Duration> {
    let value: Duration = layers.get(spec)?;
    if value.is_zero() {
        return Err(layers.invalid(spec, &format!("{}, longer than nothing", Duration::allowed())));
    }
    Ok(value)
}

/// A number that is not zero.
pub(super) fn at_least_one(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    let value: usize = layers.get(spec)?;
    if value == 0 { Err(layers.invalid(spec, "a whole number, 1 or more")) } else { Ok(value) }
}

/// A number that is not zero; one that is too large for the type becomes the largest.
pub(super) fn at_least_one_u32(layers: &Layers, spec: &'static Spec) -> Read<u32> {
    Ok(u32::try_from(at_least_one(layers, spec)?).unwrap_or(u32::MAX))
}

/// A size in bytes.
pub(super) fn bytes(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    layers.get::<ByteSize>(spec).map(|size| size.0 as usize)
}

/// A size in bytes that may be absent.
pub(super) fn optional_bytes(layers: &Layers, spec: &'static Spec) -> Read<Option<usize>> {
    Ok(layers.get::<Option<ByteSize>>(spec)?.map(|size| size.0 as usize))
}

/// A size that bounds what waits in memory: 64 KiB at least.
pub(super) fn buffer_bytes(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    Ok(bytes(layers, spec)?.max(64 * 1024))
}

/// The size of a connection's outbox.
pub(super) fn outbox_bytes(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    const MOST: usize = 1 << 30;
    let size = buffer_bytes(layers, spec)?;
    if size <= MOST { Ok(size) } else { Err(layers.invalid(spec, "at most 1GiB")) }
}

/// A size that a message may have.
pub(super) fn message_bytes(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    let size = bytes(layers, spec)?;
    if MESSAGE_BYTES.contains(&size) { Ok(size) } else { Err(layers.invalid(spec, "from 1 byte to 64MiB")) }
}

/// The name of a program in the cluster; `listen` gives the default.
pub(super) fn program_name(layers: &Layers, spec: &'static Spec, listen: &Endpoint) -> Read<String> {
    match layers.get::<Option<String>>(spec)? {
        Some(name) if is_plain_name(&name) => Ok(name),
        Some(_) => Err(layers.invalid(spec, "letters, digits, dots, underscores and hyphens, at most 64")),
        None => Ok(default_name(listen)),
    }
}

fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The host's name and the end of the address, in plain characters.
fn default_name(listen: &Endpoint) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let end = match listen {
        Endpoint::Tcp { port, .. } => port.to_string(),
        Endpoint::Unix(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        Endpoint::InProcess => "worker".to_owned(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let host: String = host.trim().chars().map(plain).take(40).collect();
    let end: String = end.chars().map(plain).take(20).collect();
    format!("{}-{end}", if host.is_empty() { "localhost" } else { &host })
}

/// The admin address. Its default is loopback, own port + 10000; a Unix socket or a port too high has none.
pub(super) fn admin_address(layers: &Layers, spec: &'static Spec, listen: &Endpoint) -> Read<Option<Endpoint>> {
    if let Some(address) = layers.get::<Option<Endpoint>>(spec)? {
        return Ok(Some(address));
    }
    let port = match listen.host_port() {
        Some((_, 0)) => Some(0),
        Some((_, port)) => port.checked_add(10_000),
        None => None,
    };
    Ok(port.map(|port| Endpoint::tcp("127.0.0.1", port)))
}

/// The warning that there is no admin address.
pub(super) fn no_admin_address(spec: &'static Spec, listen: &Endpoint) -> String {
    let why = match listen {
        Endpoint::Tcp { port, .. } => format!("its default would be port {port} + 10000, which does not exist"),
        Endpoint::Unix(_) | Endpoint::InProcess => {
            "it has no default where DIFFYNE_WORKER_LISTEN is a Unix socket".to_owned()
        }
    };
    format!(
        "there are no admin pages (/metrics, /ready), because {} is not set and {why}: set it to 127.0.0.1:PORT",
        spec.name
    )
}

/// The number of cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
