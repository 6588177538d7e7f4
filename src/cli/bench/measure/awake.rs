//! What an employee costs while it is awake, and how long it takes to wake one.

use super::Ask;
use crate::cli::bench::{
    bulk::hire_all,
    graphs::{self, Durability},
    http::Connection,
    place::Place,
    report::Measurement,
    server::Server,
    w1::W1,
};
use anyhow::Result;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(120);
const STAY: Duration = Duration::from_secs(600);
const SLEEP: Duration = Duration::from_secs(1);

/// # Errors
/// If a run does not end as it should or an employee does not sleep.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let of = format!("awake/{}", ask.database);
    let count = ask.sizes.awake;
    let place = ask.places.make(ask.database).await?;
    let server = Server::start(&place, STAY).await?;
    ask.progress(&format!("{count} employees awake"));
    let hire = |name: &str| graphs::w1(name, Durability::Default);
    let employees = hire_all(&server, count, hire).await?;
    // The first one pays for connections and caches.
    let mut connection = Connection::open(server.address).await?;
    W1::new(&server, &employees[0])
        .once(&mut connection)
        .await?;
    let before = server.resident_bytes()?;
    for employee in &employees[1..] {
        W1::new(&server, employee).once(&mut connection).await?;
    }
    let after = server.resident_bytes()?;
    server.kill().await?;
    let each = (after as f64 - before as f64) / (count - 1).max(1) as f64;
    ask.answers.push(
        Measurement::once(&of, "memory per awake employee", "B", each).note(format!(
            "{count} employees of W1 that have finished one run: each an employee, three skills and six micro-agents"
        )),
    );
    reactivate(ask, &of, &place, &employees).await?;
    ask.places.remove(place).await
}

/// The same run, asked of employees that sleep and again while they are awake.
async fn reactivate(
    ask: &mut Ask<'_>,
    of: &str,
    place: &Place,
    employees: &[String],
) -> Result<()> {
    let mut server = Server::start(place, SLEEP).await?;
    let employees = &employees[..ask.sizes.reactivated.min(employees.len())];
    ask.progress(&format!(
        "wake {} employees, one after the other",
        employees.len()
    ));
    let mut connection = Connection::open(server.address).await?;
    for employee in employees {
        W1::new(&server, employee).once(&mut connection).await?;
    }
    server.wait_until_asleep(DEADLINE).await?;
    let (mut slept, mut awake) = (Vec::new(), Vec::new());
    for employee in employees {
        let w1 = W1::new(&server, employee);
        slept.push(w1.once(&mut connection).await?.as_secs_f64() * 1e3);
        awake.push(w1.once(&mut connection).await?.as_secs_f64() * 1e3);
    }
    server.kill().await?;
    let slept = Measurement::new(of, "W1, employee asleep, p50", "ms", slept);
    let awake = Measurement::new(of, "W1, the same awake, p50", "ms", awake);
    let more = slept.median() - awake.median();
    let reactivation = Measurement::once(of, "to reactivate one", "ms", more)
        .note("the difference of the two medians: employee, memory and plan read from the database, actors started");
    ask.answers.extend([slept, awake, reactivation]);
    Ok(())
}
