// What the examples in the documentation run on: a server of their own, and an executor. Each includes this.

/// A server on a Unix socket in a directory of its own, gone with the example.
#[allow(dead_code)]
struct Server {
    process: std::process::Child,
    directory: std::path::PathBuf,
}

#[allow(dead_code)]
impl Server {
    fn start() -> Server {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("rs_script-doc-{}-{time}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let process = std::process::Command::new("redis-server")
            // It listens to SCRIPT KILL after 10 ms, and not after 5 seconds, as it does by default.
            .args(["--port", "0", "--save", "", "--lua-time-limit", "10", "--unixsocket"])
            .arg(directory.join("socket"))
            .arg("--dir")
            .arg(&directory)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let server = Server { process, directory };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while std::os::unix::net::UnixStream::connect(server.directory.join("socket")).is_err() {
            assert!(std::time::Instant::now() < deadline, "the server of this example does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        server
    }

    fn url(&self) -> String {
        format!("unix://{}", self.directory.join("socket").display())
    }

    fn client(&self) -> rs_script::Client {
        rs_script::Client::open(&self.url(), &rs_script::Options::default()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Polls a future on this thread until it has ended.
#[allow(dead_code)]
fn block_on<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
