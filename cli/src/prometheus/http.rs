//! The exporter's HTTP side: which addresses, which pages, which format, and how many scrapes share one reading.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex as Turn, watch};

use super::accept::Format;
use super::classic;
use super::exporter::{Exporter, Scrape};
use crate::complain;
use crate::failure::Failure;

/// How long answers that are under way may take when the exporter is asked to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves the exporter on these sockets until SIGINT or SIGTERM.
pub fn serve(exporter: Exporter, listeners: Vec<TcpListener>, min_interval: Duration) -> Result<(), Failure> {
    // One thread is enough for the talking; readings have one of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed = |source| Failure::Serve { source };
    let pages =
        Arc::new(Pages { exporter: Arc::new(Mutex::new(exporter)), last: Turn::new(None), min_interval });
    let runtime = runtime.map_err(failed)?;
    let served = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (stop, stopped) = watch::channel(false);
        let mut servers = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut stopped = stopped.clone();
            let stopping = async move {
                // The sender never goes away before it has said so.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let server = axum::serve(listener, router(Arc::clone(&pages))).with_graceful_shutdown(stopping);
            servers.push(tokio::spawn(server.into_future()));
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
        let farewell = async {
            for server in servers {
                // A server that has panicked has said so.
                let _ = server.await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        Ok(())
    });
    // A reading that hangs must not keep the process.
    runtime.shutdown_background();
    served.map_err(failed)
}

/// Listens on all addresses that `text` stands for: `ADDR:PORT`, `NAME:PORT`, or `:PORT` for all of this machine's.
pub fn listen(text: &str) -> Result<Vec<TcpListener>, Failure> {
    let refused = |reason: String| Failure::Listen { address: text.to_owned(), reason };
    let everywhere = text.strip_prefix(':').map(|port| format!("[::]:{port}"));
    let addresses: Vec<SocketAddr> = everywhere
        .as_deref()
        .unwrap_or(text)
        .to_socket_addrs()
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => refused("write it as ADDRESS:PORT, [IPV6]:PORT or :PORT".to_owned()),
            _ => refused(format!("{error}; name an address of this machine")),
        })?
        .collect();
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in addresses {
        match bind(address, everywhere.is_some()) {
            Ok(listener) => listeners.push(listener),
            // A name may have an address of a family that this machine does without.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => missing = Some(error),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let advice =
                    "another process has it (`ss -ltnp` shows which): stop that, or choose another port";
                return Err(refused(advice.to_owned()));
            }
            Err(error) => return Err(refused(error.to_string())),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => {
            Err(refused(format!("{error}; name an address of this machine")))
        }
        _ => Ok(listeners),
    }
}

fn bind(address: SocketAddr, or_ipv4: bool) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address) {
        // A kernel without IPv6.
        Err(error) if or_ipv4 && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).map_err(|_| error)
        }
        bound => bound,
    }
}

#[derive(Debug)]
struct Pages {
    exporter: Arc<Mutex<Exporter>>,
    /// The last reading. Whoever holds it reads; the others wait, and share what was read.
    last: Turn<Option<Arc<Page>>>,
    min_interval: Duration,
}

/// A reading, in the formats that were asked for.
#[derive(Debug)]
struct Page {
    read: Instant,
    state: String,
    openmetrics: Bytes,
    classic: OnceLock<Bytes>,
}

fn router(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(async || "weirstat is healthy\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "not found: the metrics are at /metrics\n"))
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n")
        })
        .with_state(pages)
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let Some(page) = pages.page().await else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the reading has failed\n").into_response();
    };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::of_accept(accepted);
    let text = match format {
        Format::OpenMetrics => page.openmetrics.clone(),
        Format::Classic => page.classic(),
    };
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "Accept"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

async fn index(State(pages): State<Arc<Pages>>) -> Html<String> {
    let state = pages.page().await.map_or("the reading has failed".to_owned(), |page| page.state.clone());
    let mut text = String::new();
    for c in state.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '<' | '>' | '&' | '"' | '\'' => write!(text, "&#{};", u32::from(c)),
            _ => write!(text, "{c}"),
        };
    }
    Html(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>weirstat prometheus</title></head><body>\n\
         <h1>weirstat prometheus</h1>\n<p>Version {}: {text}</p>\n\
         <ul><li><a href=\"/metrics\">Metrics</a></li><li><a href=\"/-/healthy\">Health of the exporter</a></li></ul>\n\
         </body></html>\n",
        env!("CARGO_PKG_VERSION")
    ))
}

impl Pages {
    /// What was read less than the minimum interval ago, or is read now; `None` if that has failed.
    async fn page(&self) -> Option<Arc<Page>> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(page) = &*last {
            // What was read while this one waited is as new as it can wish.
            if page.read >= asked || page.read.elapsed() < self.min_interval {
                return Some(Arc::clone(page));
            }
        }
        let exporter = Arc::clone(&self.exporter);
        let read = Instant::now();
        // Reading a large segment, or waiting for a server that is silent, would keep the others from being answered.
        let scrape = tokio::task::spawn_blocking(move || {
            exporter.lock().unwrap_or_else(PoisonError::into_inner).scrape()
        });
        match scrape.await {
            Ok(Ok(Scrape { text, state })) => {
                let page = Page { read, state, openmetrics: text.into(), classic: OnceLock::new() };
                Some(Arc::clone(last.insert(Arc::new(page))))
            }
            Ok(Err(error)) => {
                complain(format!("cannot write the metrics: {error}"));
                None
            }
            // It has panicked, and said so.
            Err(_) => None,
        }
    }
}

impl Page {
    fn classic(&self) -> Bytes {
        let text = || classic::from_openmetrics(&String::from_utf8_lossy(&self.openmetrics)).into();
        self.classic.get_or_init(text).clone()
    }
}
