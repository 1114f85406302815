fn main() {
    origin::cluster::shim::run_if_asked();
}
