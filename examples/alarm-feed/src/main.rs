//! The program `alarm-feed` writes alarms to a file, or serves them over HTTP.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use alarm_feed::{Fault, Summary, write_alarms};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::{Args, Parser};

/// Makes base-station alarms as CSV, some of them bad. The same arguments give the same bytes.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Writes alarms to a file or to standard output.
    Generate {
        #[command(flatten)]
        feed: Feed,
        /// Output file. Without it, the alarms go to standard output.
        file: Option<PathBuf>,
    },
    /// Serves alarms as `/alarms.csv` until it is killed. Prints the URL when it listens.
    Serve {
        #[command(flatten)]
        feed: Feed,
        /// Address and port. Port 0 takes a free port.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct Feed {
    /// Number of records.
    #[arg(long, default_value_t = 1_000)]
    records: u64,
    /// Seed of the random numbers. Another seed gives other records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Percentage of bad records.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    bad_percent: u8,
}

impl Feed {
    fn write(&self, out: impl Write) -> io::Result<Summary> {
        write_alarms(out, self.seed, self.records, self.bad_percent)
    }
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Generate { feed, file } => generate(&feed, file),
        Command::Serve { feed, listen } => serve(&feed, listen),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The program that reads the output has closed it, as in `alarm-feed generate | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "alarm-feed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(feed: &Feed, file: Option<PathBuf>) -> io::Result<()> {
    let summary = match file {
        Some(path) => {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
            feed.write(File::create(&path).map_err(named)?).map_err(named)?
        }
        None => feed.write(io::stdout().lock())?,
    };
    report(&summary)
}

fn report(summary: &Summary) -> io::Result<()> {
    writeln!(
        io::stderr(),
        "{} records, {} bytes; {} bad: {} bad id, {} bad time, {} end before start, {} bad value, {} ragged",
        summary.records,
        summary.bytes,
        summary.bad(),
        summary.with(Fault::BadId),
        summary.with(Fault::BadTime),
        summary.with(Fault::EndBeforeStart),
        summary.with(Fault::BadValue),
        summary.with(Fault::Ragged),
    )
}

#[tokio::main(flavor = "current_thread")]
async fn serve(feed: &Feed, listen: SocketAddr) -> io::Result<()> {
    // The alarms are generated before the first request, so that serving them costs almost no time during a
    // measurement.
    let mut csv = Vec::new();
    report(&feed.write(&mut csv)?)?;
    let csv = Bytes::from(csv);
    let etag = entity_tag(&csv);

    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("listen on {listen}: {e}")))?;
    writeln!(io::stdout(), "http://{}/alarms.csv", listener.local_addr()?)?;
    let answer = get(move |headers: HeaderMap| async move { respond(&headers, csv, &etag) });
    axum::serve(listener, Router::new().route("/alarms.csv", answer)).await
}

fn respond(headers: &HeaderMap, csv: Bytes, etag: &str) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == etag);
    let tag = (header::ETAG, etag.to_owned());
    if known {
        return (StatusCode::NOT_MODIFIED, [tag]).into_response();
    }
    let content_type = (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned());
    ([tag, content_type], csv).into_response()
}

/// Returns a strong entity tag. Different bytes have different tags.
fn entity_tag(csv: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    csv.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
