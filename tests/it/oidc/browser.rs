//! A real browser, driven by WebDriver.

use fantoccini::{
    Client, ClientBuilder, Locator,
    elements::Element,
    wd::{Capabilities, TimeoutConfiguration},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// One window with a profile of its own.
pub struct Browser {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    pub async fn start() -> Self {
        let (driver, port) = driver();
        let profile = tempfile::tempdir().expect("a directory");
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        // Its sandbox needs rights that root's processes in a container have not, and it refuses to try as root.
        if is_root() {
            arguments.push("--no-sandbox".into());
        }
        let mut capabilities = Capabilities::new();
        capabilities.insert(
            "goog:chromeOptions".into(),
            json!({"args": arguments, "binary": "/usr/bin/chromium"}),
        );
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("this test needs Chromium, which scripts/test-needs installs");
        let page = TimeoutConfiguration::new(None, Some(PATIENCE), None);
        client.update_timeouts(page).await.expect("timeouts");
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    pub async fn find(&self, css: &str) -> Element {
        let wait = self.client.wait().at_most(PATIENCE);
        match wait.for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => panic!("{error}: no {css} in {}", self.text().await),
        }
    }

    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.send_keys(text).await.expect("typed");
    }

    /// Clicks, which leads somewhere else.
    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect("clicked");
    }

    /// What a person reads.
    pub async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await;
        match body {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    /// Waits until the page says so.
    pub async fn reads(&self, text: &str) -> String {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let page = self.text().await;
            if page.contains(text) {
                return page;
            }
            let url = self.client.current_url().await;
            assert!(
                std::time::Instant::now() < deadline,
                "wanted {text:?} at {url:?}: {page}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn url(&self) -> String {
        let url = self.client.current_url().await;
        url.expect("an address").to_string()
    }

    pub async fn close(self) {
        let _ = self.client.clone().close().await;
    }
}

/// Starts the driver on a port that it takes for itself.
fn driver() -> (Child, u16) {
    let mut child = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test needs chromedriver, which scripts/test-needs installs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let port = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').trim().parse().ok()
        })
        .expect("chromedriver says its port");
    // Read on, or it stands still when the pipe is full.
    thread::spawn(move || lines.for_each(drop));
    (child, port)
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    lines.any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}
