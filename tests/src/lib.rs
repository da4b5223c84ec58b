//! What the tests and the benchmarks share.
//!
//! * [`load`]: a load generator of our own, light enough not to be what is measured
//! * [`process`]: real processes, started and stopped
//! * [`crowd`]: tens of thousands of clients, in processes of their own
//! * [`cluster`]: gateways, workers, Redis and nginx as one thing to test
//! * [`application`]: pages with components in front of a cluster, as [`gallery`] has them
//! * [`faulty_proxy`]: a TCP proxy that can refuse and silence connections
//! * [`attack`]: a hostile client, and a bystander who must not notice it
//! * [`browser`]: headless Chromium
//! * [`header_sets`]: random headers of browsers and proxies
//! * [`recorded`], [`dom`]: the components of the recorded conversation, and what their patches do
//! * [`laravel`]: a real Laravel application; [`laravel_probe`]: calls of its components; [`laravel_pages`]: its pages
//! * [`isolation`]: proofs that nothing of one call reaches the next
//! * [`mariadb`]: a MariaDB that can be restarted
//! * [`relay`]: fake gateways and workers
//! * [`verification`]: workers that verify states, in each mode
//! * [`stage`]: a component that shows what a test gives it, and pages of a test's own
//! * [`task`]: tasks that run beside a test
//! * [`protected_components`]: components with a property of each kind, in Rust
//! * [`field_components`]: fields of each kind, and views that patches can go wrong with
//! * [`upload`]: file uploads, as browsers send them and as they should not
//! * [`client`]: an independent WebSocket client; [`message`]: what it receives

pub mod application;
pub mod attack;
pub mod browser;
pub mod client;
pub mod cluster;
pub mod crowd;
pub mod dom;
pub mod events_client;
pub mod faults;
pub mod faulty_proxy;
pub mod field_components;
pub mod fuzz;
pub mod gallery;
pub mod header_sets;
pub mod http;
pub mod isolation;
pub mod laravel;
pub mod laravel_pages;
pub mod laravel_probe;
pub mod load;
pub mod mariadb;
pub mod members;
pub mod message;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod protected_components;
pub mod recorded;
pub mod redis;
pub mod relay;
pub mod report;
pub mod stage;
pub mod task;
pub mod terminal;
pub mod upload;
pub mod verification;
pub mod visitor;
pub mod webhook_receiver;
