//! What the tests of locked values share: the components of [`crate::protected_components`] in Rust and in PHP, and
//! workers that verify in each mode.

use anyhow::Context as _;
use diffyne_shared::signing::{Signer, SigningKey, VerifyState};

use crate::cluster::Shape;
use crate::laravel::{Deployment, Laravel, Runtime};
use crate::recorded::APP_KEY;

/// A component with a property of each kind.
pub const VAULT: &str = "App\\Diffyne\\Vault";
/// The same under another name.
pub const SAFE: &str = "App\\Diffyne\\Safe";
/// One that inherits its protected properties.
pub const CHEST: &str = "App\\Diffyne\\Chest";
/// A form with locked fields.
pub const ACCOUNT: &str = "App\\Diffyne\\Account";
/// The id of a component on a page.
pub const ID: &str = "diffyne-0123456789abcdef";

/// The same test for components in Rust, in PHP's pool with and without the HTTP kernel, and behind the bridge of an
/// application that is served elsewhere.
#[macro_export]
macro_rules! for_all_backends {
    ($test:ident) => {
        mod $test {
            use diffyne_tests::laravel::Runtime;
            #[tokio::test(flavor = "multi_thread")]
            async fn rust() -> anyhow::Result<()> {
                super::$test(None).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn pool() -> anyhow::Result<()> {
                super::$test(Some(Runtime::FastPath)).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn pool_through_the_kernel() -> anyhow::Result<()> {
                super::$test(Some(Runtime::Kernel)).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn bridge_by_http() -> anyhow::Result<()> {
                super::$test(Some(Runtime::Http)).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn bridge_in_php_fpm() -> anyhow::Result<()> {
                super::$test(Some(Runtime::FastCgi)).await
            }
        }
    };
}

/// How a worker verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyMode {
    /// Updates of properties only: the default.
    PropertyUpdates,
    /// All, with lenient forms.
    StrictLenient,
    /// All.
    Strict,
    /// Nothing.
    None,
}

/// A signer with the application's key.
pub fn app_signer() -> anyhow::Result<Signer> {
    Signer::new(vec![SigningKey::parse(APP_KEY)?], VerifyState::Strict, false).context("no key")
}

/// The shape with workers that verify in this mode.
pub fn verifying(shape: Shape, mode: VerifyMode) -> Shape {
    let (verify, lenient) = match mode {
        VerifyMode::PropertyUpdates => ("property-updates", "true"),
        VerifyMode::StrictLenient => ("strict", "true"),
        VerifyMode::Strict => ("strict", "false"),
        VerifyMode::None => ("none", "true"),
    };
    shape.worker_variable("DIFFYNE_VERIFY_STATE", verify).worker_variable("DIFFYNE_LENIENT_FORMS", lenient)
}

/// Starts what runs the components: an application, or nothing more than a worker for those in Rust.
pub fn deploy(runtime: Option<Runtime>) -> anyhow::Result<(Option<Laravel>, Deployment)> {
    let Some(runtime) = runtime else {
        let shape = Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(1, 1) };
        return Ok((None, Deployment { shape, processes: Vec::new() }));
    };
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    Ok((Some(laravel), deployment))
}
