# A formula for Homebrew: built from the release's source. scripts/package fills in version and checksum.
class RsScript < Formula
  desc "Lua scripts on Redis and Valkey without the edge cases"
  homepage "https://github.com/rs-script/rs_script"
  url "https://github.com/rs-script/rs_script/releases/download/v@VERSION@/rs_script-@VERSION@-source.tar.gz"
  sha256 "@SHA256_source@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "cmake" => :build
  depends_on "rust" => :build
  depends_on "redis" => :test

  def install
    system "cmake", "-S", ".", "-B", "build", *std_cmake_args
    system "cmake", "--build", "build"
    system "cmake", "--install", "build", "--strip"
    pkgshare.install "examples"
  end

  test do
    port = free_port
    spawn Formula["redis"].opt_bin/"redis-server", "--port", port.to_s, "--save", ""
    cp pkgshare/"examples/c/multiply.c", testpath
    system ENV.cc, "multiply.c", "-I#{include}", "-L#{lib}", "-lrs_script", "-o", "multiply"
    url = "redis://127.0.0.1:#{port}"
    sleep 0.1 until quiet_system Formula["redis"].opt_bin/"redis-cli", "-u", url, "ping"
    assert_match "10", shell_output("./multiply #{url} #{url}")
  end
end
