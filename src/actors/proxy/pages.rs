//! The items of a list one after the other, over all its pages. Of the pages one is in memory, and one more on its way out.

use super::{ProxyError, ProxyRequest, call};
use crate::{
    actors::core::Core,
    connect::{Capability, PageWalk},
    graph::StepError,
};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pages that are ready and not taken yet.
const READY: usize = 1;
/// Pages of one list. Its items are given on as they come, so only the way through it is kept.
const MOST: usize = 100_000;

/// The pages' items. It ends with the list, or with the error that stopped it.
pub type Pages = mpsc::Receiver<Result<Vec<Value>, ProxyError>>;

/// Begins to read. The first page is there when this returns; the others follow as they are taken, and no more when the receiver is dropped.
///
/// A capability without pages gives its output as the one item.
///
/// # Errors
/// As [`call`], of the first page.
pub async fn stream(
    core: &Arc<Core>,
    capability: Arc<Capability>,
    request: ProxyRequest,
) -> Result<Pages, ProxyError> {
    let first = page(core, &request).await?;
    let (pages, taken) = mpsc::channel(READY);
    let core = core.clone();
    tokio::spawn(async move {
        let (mut request, mut output) = (request, first);
        let mut walk = PageWalk::new(MOST);
        loop {
            let next = walk.next(&capability, &request.arguments, &output);
            if pages.send(Ok(items(&capability, output))).await.is_err() {
                return;
            }
            match next {
                Ok(Some(arguments)) => request.arguments = arguments,
                Ok(None) => return,
                Err(error) => {
                    let error = StepError::new("provider_error", error.to_string());
                    return drop(pages.send(Err(ProxyError::Failed(error))).await);
                }
            }
            output = match page(&core, &request).await {
                Ok(output) => output,
                Err(error) => return drop(pages.send(Err(error)).await),
            };
        }
    });
    Ok(taken)
}

async fn page(core: &Core, request: &ProxyRequest) -> Result<Value, ProxyError> {
    let answer = call(core, request.clone()).await?;
    Ok(Arc::unwrap_or_clone(answer.output))
}

fn items(capability: &Capability, mut output: Value) -> Vec<Value> {
    let place = capability.pagination.as_ref().map(|pages| pages.items());
    let list = place.and_then(|place| output.get_mut(place));
    match list.map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(Value::Null) => Vec::new(),
        _ => vec![output],
    }
}
