//! Tells cargo that the embedded dashboard is an input: a new build of it makes a new binary.

fn main() {
    println!("cargo::rerun-if-changed=../../web/dist");
}
