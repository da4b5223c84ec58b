//! Traces of calls and broadcasts, as a collector of these tests gets them: it takes OTLP over HTTP and gRPC, and decodes it
//! with OpenTelemetry's own messages.

use std::convert::Infallible;
use std::future::Ready;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diffyne_shared::listener::Stream;
use diffyne_shared::tls::ServerTls;
use diffyne_tests::client::{Client, increment};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::{call_probe, probe_call};
use diffyne_tests::process::{eventually, program};
use diffyne_tests::redis::Certificates;
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Received = Arc<Mutex<Vec<(String, Span)>>>;

/// When a batch was not taken, and after which time it came again.
type Refused = Arc<Mutex<Option<(Bytes, Instant, Option<Duration>)>>>;

/// How long the collector wants to be left alone: longer than clients wait by themselves.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What a port of the collector speaks.
#[derive(Clone)]
enum Port {
    Http(ServerTls),
    Grpc,
    /// As collectors do, it closes a connection on which HTTP/2 was not agreed upon.
    GrpcOverTls(TlsAcceptor),
}

/// A collector: the services' names and their spans.
struct Collector {
    http: SocketAddr,
    grpc: SocketAddr,
    grpc_over_tls: SocketAddr,
    received: Received,
    refused: Refused,
    certificates: Certificates,
    _directory: tempfile::TempDir,
    tasks: [tokio::task::JoinHandle<()>; 3],
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == name).and_then(|found| found.value.clone());
    match value {
        Some(AnyValue { value: Some(Attribute::StringValue(text)) }) => text,
        _ => String::new(),
    }
}

/// gRPC's state comes after the message.
type Answer = Response<WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>>;

async fn take(
    request: Request<Incoming>,
    received: Received,
    tries: Arc<AtomicUsize>,
    refused: Refused,
) -> anyhow::Result<Answer> {
    let is_grpc = request.version() == Version::HTTP_2;
    let (path, content_type) = if is_grpc {
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc")
    } else {
        ("/v1/traces", "application/x-protobuf")
    };
    let is_otlp = request.uri().path() == path && request.headers()["content-type"] == content_type;
    ensure!(is_otlp && request.headers()["authorization"] == "Bearer a b", "{request:?}");
    let body = request.into_body().collect().await?.to_bytes();
    // It is busy at first: that batch comes again.
    let is_busy = tries.fetch_add(1, Ordering::Relaxed) < if is_grpc { 2 } else { 1 };
    if let Some((first, since, after)) = &mut *refused.lock().unwrap()
        && *first == body
    {
        after.get_or_insert(since.elapsed());
    }
    let (empty, state) = if is_grpc { (&b"\0\0\0\0\0"[..], if is_busy { "14" } else { "0" }) } else { (&b""[..], "0") };
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(state))]);
    let answer =
        Full::new(Bytes::from_static(empty)).with_trailers(std::future::ready(is_grpc.then_some(Ok(trailers))));
    let mut answer = Response::new(answer);
    if is_busy {
        if !is_grpc {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            *refused.lock().unwrap() = Some((body, Instant::now(), None));
        }
        return Ok(answer);
    }
    let message = if is_grpc {
        ensure!(body.len() >= 5 && body[..5] == [&[0][..], &u32::try_from(body.len() - 5)?.to_be_bytes()].concat());
        body.slice(5..)
    } else {
        body
    };
    for resource in ExportTraceServiceRequest::decode(message)?.resource_spans {
        let service = text(&resource.resource.unwrap_or_default().attributes, "service.name");
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
    }
    Ok(answer)
}

async fn serve(
    port: Port,
    received: &Received,
    refused: &Refused,
) -> anyhow::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, spans, tries) = (listener.local_addr()?, Arc::clone(received), Arc::new(AtomicUsize::new(0)));
    let refused = Arc::clone(refused);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (spans, tries, refused) = (Arc::clone(&spans), Arc::clone(&tries), Arc::clone(&refused));
            let service =
                service_fn(move |request| take(request, Arc::clone(&spans), Arc::clone(&tries), Arc::clone(&refused)));
            let port = port.clone();
            tokio::spawn(async move {
                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                match port {
                    Port::Http(tls) => {
                        let stream = tls.accept(Stream::Tcp(stream)).await?;
                        let http1 = hyper::server::conn::http1::Builder::new();
                        http1.serve_connection(TokioIo::new(stream), service).await?;
                    }
                    Port::Grpc => http2.serve_connection(TokioIo::new(stream), service).await?,
                    Port::GrpcOverTls(tls) => {
                        let stream = tls.accept(stream).await?;
                        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "HTTP/2 is not agreed upon");
                        http2.serve_connection(TokioIo::new(stream), service).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
    });
    Ok((address, task))
}

fn http2_acceptor(certificates: &Certificates) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(&certificates.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&certificates.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Collector {
    async fn start() -> anyhow::Result<Self> {
        let (received, refused, directory) = (Received::default(), Refused::default(), tempfile::tempdir()?);
        let certificates = Certificates::make(directory.path())?;
        let tls = ServerTls::read(&certificates.certificate, &certificates.key).map_err(anyhow::Error::msg)?;
        let (http, http_task) = serve(Port::Http(tls), &received, &refused).await?;
        let (grpc, grpc_task) = serve(Port::Grpc, &received, &refused).await?;
        let tls = Port::GrpcOverTls(http2_acceptor(&certificates)?);
        let (grpc_over_tls, grpc_over_tls_task) = serve(tls, &received, &refused).await?;
        let tasks = [http_task, grpc_task, grpc_over_tls_task];
        Ok(Self { http, grpc, grpc_over_tls, received, refused, certificates, _directory: directory, tasks })
    }

    /// The spans of a trace, when there are so many of them.
    fn trace(&self, trace: u128, count: usize) -> anyhow::Result<Vec<(String, Span)>> {
        let of_trace = || -> Vec<(String, Span)> {
            let received = self.received.lock().unwrap();
            received.iter().filter(|(_, span)| span.trace_id == trace.to_be_bytes()).cloned().collect()
        };
        eventually("the spans have come", || of_trace().len() >= count)
            .with_context(|| format!("{:#?}", of_trace().iter().map(|(_, span)| &span.name).collect::<Vec<_>>()))?;
        Ok(of_trace())
    }
}

/// The span of this name, whose service it is, and whose part.
fn find<'a>(spans: &'a [(String, Span)], name: &str, service: &str, parent: &[u8]) -> anyhow::Result<&'a Span> {
    let is_it = |(of, span): &&(String, Span)| span.name == name && of == service && span.parent_span_id == parent;
    let names: Vec<_> = spans.iter().map(|(of, span)| (of, &span.name)).collect();
    Ok(&spans.iter().find(is_it).with_context(|| format!("no {name} of {service} in {names:?}"))?.1)
}

const PAGE: u64 = 0xb7ad_6b71_6920_3331;

fn traceparent(trace: u128, flags: &str) -> String {
    format!("00-{trace:032x}-{PAGE:016x}-{flags}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_page_goes_on_through_gateway_worker_php_and_the_deliveries_of_an_event() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let laravel = Laravel::new()?;
    let shape = laravel.shape(2, 1).with_redis();
    let shape = shape.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://{}", collector.http));
    let authority = collector.certificates.authority.display().to_string();
    let shape = shape.variable("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority);
    let shape = shape.worker_variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let shape = shape.worker_variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{}", collector.grpc));
    let shape = shape.variable("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a%20b");
    let shape = shape.variable("OTEL_BSP_SCHEDULE_DELAY", "20").variable("OTEL_BSP_MAX_QUEUE_SIZE", "16");
    let shape = shape.variable("OTEL_BSP_EXPORT_TIMEOUT", "2000");
    let cluster = Cluster::start(shape.gateway("--admin-token", "let-me"))?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    other.subscribe("message-sent").await?;

    let post = |trace: u128, flags: &str| {
        let body = probe_call("a", "tell", json!(["traced"])).to_string();
        let header = traceparent(trace, flags);
        http_post(cluster.gateways[0].port, "/_diffyne/update", &[("traceparent", &header)], &body)
    };
    assert_eq!(post(0xa1, "01")?.status, 200);
    // Call, relay, worker, method, publish, and a delivery in each gateway.
    let spans = collector.trace(0xa1, 7)?;
    let (gateway, worker) = ("diffyne-gateway", "diffyne-worker");
    let call = find(&spans, "call App\\Diffyne\\Probe", gateway, &PAGE.to_be_bytes())?;
    let relay = find(&spans, "relay", gateway, &call.span_id)?;
    let run = find(&spans, "worker App\\Diffyne\\Probe", worker, &relay.span_id)?;
    let method = find(&spans, "App\\Diffyne\\Probe::tell", worker, &run.span_id)?;
    let phases: Vec<&str> = method.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(phases, ["run", "render", "diff"]);
    assert_eq!(text(&method.attributes, "diffyne.outcome"), "ok");
    assert!(!text(&method.attributes, "diffyne.request").is_empty(), "the request's id in the logs");
    for (outer, inner) in [(call, relay), (relay, run), (run, method)] {
        let is_within = outer.end_time_unix_nano - outer.start_time_unix_nano
            >= inner.end_time_unix_nano - inner.start_time_unix_nano;
        assert!(is_within, "{outer:?} {inner:?}");
    }
    let publish = find(&spans, "publish message-sent", gateway, &call.span_id)?;
    let deliveries = spans.iter().filter(|(_, span)| span.name == "deliver message-sent");
    assert_eq!(deliveries.filter(|(_, span)| span.parent_span_id == publish.span_id).count(), 2);
    assert_eq!(spans.len(), 7);
    let again = || collector.refused.lock().unwrap().as_ref().and_then(|(_, _, after)| *after);
    eventually("what was refused comes again", || again().is_some())?;
    assert!(again() >= Some(Duration::from_secs(RETRY_AFTER_SECONDS)), "when the collector has said: {:?}", again());

    // PHP goes on from the method's span; a call that fails is an error in each of its spans.
    for (trace, method, params, error) in [(0xb1_u128, "headers", json!([]), 0), (0xb2, "end", json!(["throw"]), 2)] {
        let body = probe_call("a", method, params).to_string();
        let header = traceparent(trace, "01");
        let answer = http_post(cluster.gateways[0].port, "/_diffyne/update", &[("traceparent", &header)], &body)?;
        let spans = collector.trace(trace, 4)?;
        let call = find(&spans, "call App\\Diffyne\\Probe", gateway, &PAGE.to_be_bytes())?;
        let relay = find(&spans, "relay", gateway, &call.span_id)?;
        let run = find(&spans, "worker App\\Diffyne\\Probe", worker, &relay.span_id)?;
        let method = find(&spans, &format!("App\\Diffyne\\Probe::{method}"), worker, &run.span_id)?;
        for span in [call, run, method] {
            assert_eq!(span.status.as_ref().map_or(0, |status| status.code), error, "{span:?}");
        }
        if error == 0 {
            let own = format!("00-{trace:032x}-{:016x}-01", u64::from_be_bytes(method.span_id[..].try_into()?));
            assert_eq!(answer.message()?.state()["seen"]["traceparent"], own);
        }
    }
    // An event that the application publishes brings its trace along.
    let event = json!({"name": "message-sent", "params": [1], "traceparent": traceparent(0xb3, "01")}).to_string();
    let bearer = [("Authorization", "Bearer let-me")];
    assert_eq!(http_post(cluster.gateways[1].admin, "/api/broadcast", &bearer, &event)?.status, 202);
    let spans = collector.trace(0xb3, 2)?;
    let names: Vec<_> = spans.iter().map(|(_, span)| (span.name.as_str(), &span.parent_span_id[..])).collect();
    assert_eq!(names, [("deliver message-sent", &PAGE.to_be_bytes()[..]); 2]);

    // Over a WebSocket the handshake's trace goes on. A trace that is recorded nowhere else is not recorded here.
    let mut client = Client::connect_with(&cluster.url(0), &[("traceparent", &traceparent(0xa2, "01"))]).await?;
    call_probe(&mut client, "tell", json!(["by socket"])).await?;
    let spans = collector.trace(0xa2, 8)?;
    find(&spans, "handshake", gateway, &PAGE.to_be_bytes())?;
    find(&spans, "call App\\Diffyne\\Probe", gateway, &PAGE.to_be_bytes())?;
    assert_eq!(post(0xa3, "00")?.status, 200);
    assert_eq!(post(0xa4, "01")?.status, 200);
    collector.trace(0xa4, 7)?;
    assert!(collector.trace(0xa3, 0)?.is_empty());
    // One that begins here has no parent.
    let body = probe_call("a", "tell", json!(["untold"])).to_string();
    http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &body)?;
    eventually("a trace begins here", || {
        let received = collector.received.lock().unwrap();
        received.iter().any(|(_, span)| span.name.starts_with("call ") && span.parent_span_id.is_empty())
    })?;

    // A collector that is gone harms nobody: calls go on, and the loss is counted.
    collector.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let failed = || cluster.gateways[0].metric("diffyne_gateway_spans_total{result=\"failed\"}").unwrap_or_default();
    let dropped = || cluster.gateways[0].metric("diffyne_gateway_spans_total{result=\"dropped\"}").unwrap_or_default();
    eventually("spans are lost and counted", || {
        (0..20).all(|_| post(0xa5, "01").is_ok_and(|answer| answer.status == 200)) && failed() > 0.0 && dropped() > 0.0
    })?;
    assert!(cluster.gateways[0].metric("diffyne_gateway_spans_total{result=\"exported\"}")? > 10.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_by_grpc_over_tls_to_a_collector_of_an_authority_of_its_own_and_to_no_other() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let other = tempfile::tempdir()?;
    let stranger = Certificates::make(other.path())?;
    let shape = Shape::new(1, 1)
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://{}", collector.grpc_over_tls))
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a%20b")
        .variable("OTEL_BSP_SCHEDULE_DELAY", "20");
    let trusting = |certificates: &Certificates| {
        let authority = certificates.authority.display().to_string();
        shape.clone().variable("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority).variable("OTEL_BSP_EXPORT_TIMEOUT", "9000")
    };
    let post = |cluster: &Cluster| {
        let header = traceparent(0xc1, "01");
        let body = increment("diffyne-a", 1, "r").to_string();
        http_post(cluster.gateways[0].port, "/_diffyne/update", &[("traceparent", &header)], &body)
    };
    // Whoever cannot tell who the collector is sends it nothing, and goes on.
    let cluster = Cluster::start(trusting(&stranger).variable("OTEL_BSP_EXPORT_TIMEOUT", "100"))?;
    assert_eq!(post(&cluster)?.status, 200);
    eventually("it is lost and counted", || {
        cluster.gateways[0].metric("diffyne_gateway_spans_total{result=\"failed\"}").is_ok_and(|spans| spans > 0.0)
    })?;
    assert!(collector.trace(0xc1, 0)?.is_empty() && cluster.gateways[0].process.output().contains("certificate"));

    let cluster = Cluster::start(trusting(&collector.certificates))?;
    assert_eq!(post(&cluster)?.status, 200);
    let spans = collector.trace(0xc1, 4)?;
    let call = spans.iter().find(|(_, span)| span.parent_span_id == PAGE.to_be_bytes()).context("no call")?;
    let relay = find(&spans, "relay", "diffyne-gateway", &call.1.span_id)?;
    assert!(spans.iter().any(|(service, span)| service == "diffyne-worker" && span.parent_span_id == relay.span_id));
    Ok(())
}

#[test]
fn a_wrong_variable_for_traces_stops_the_start_and_is_named() -> anyhow::Result<()> {
    for (name, value, words) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "is no address"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "without compression"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "a number"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "is no list"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", "a list"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "always_on"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "none", "a number"),
    ] {
        for binary in ["diffyne-gateway", "diffyne-worker"] {
            let mut command = Command::new(program(binary)?);
            command.args(["check-config"]).env("OTEL_TRACES_EXPORTER", "otlp").env(name, value);
            if binary == "diffyne-worker" {
                command.args(["--demo", "--signing-key", "test"]);
            }
            let output = command.output()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && text.contains(name) && text.contains(words), "{binary}: {text}");
        }
    }
    Ok(())
}
