// A panic in a thread of a program built to abort, through traits, generics and closures.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

trait Price {
    fn price(&self, of: &str) -> u64;
}

struct Shop<T> {
    table: HashMap<String, T>,
}

impl<T: Into<u64> + Copy> Price for Shop<T> {
    #[inline(never)]
    fn price(&self, of: &str) -> u64 {
        (*self.table.get(of).expect("no such thing")).into()
    }
}

#[inline(never)]
fn total<F: Fn(&str) -> u64>(names: &[&str], price: F) -> u64 {
    names.iter().map(|name| price(name)).sum()
}

fn main() {
    let mut table = HashMap::new();
    table.insert("tea".to_string(), 3u32);
    let shop: Arc<Mutex<Box<dyn Price + Send>>> = Arc::new(Mutex::new(Box::new(Shop { table })));
    let _idle = thread::spawn(|| thread::sleep(Duration::from_secs(100)));
    let other = shop.clone();
    thread::sleep(Duration::from_millis(20));
    let worker = thread::Builder::new()
        .name("worker".into())
        .spawn(move || total(&["tea", "milk"], |name| other.lock().unwrap().price(name)))
        .unwrap();
    println!("{:?}", worker.join());
}
