//! Customers, for the vendor: who they are and how many devices they have. What they call these is theirs.

use axum::extract::State;
use motehub_store::Customer;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Page, Query, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
pub(crate) struct CustomerDto {
    /// Its id, as of a user.
    id: String,
    /// The name with which the person logs in.
    name: String,
    /// How many devices the customer sees.
    devices: i64,
    /// Whether the person is shut out.
    disabled: bool,
    /// When the person signed up.
    created_at: String,
    /// When the person last logged in.
    last_login_at: Option<String>,
}

impl From<Customer> for CustomerDto {
    fn from(customer: Customer) -> Self {
        let Customer { user, devices } = customer;
        Self {
            id: user.id.to_string(),
            name: user.name,
            devices,
            disabled: user.disabled,
            created_at: rfc3339(user.created_at),
            last_login_at: user.last_login_at.map(rfc3339),
        }
    }
}

/// A part of the customers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerList {
    /// By name.
    items: Vec<CustomerDto>,
    /// How many there are in all.
    total: i64,
}

/// Which customers are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomerQuery {
    /// A part of the name.
    q: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Customers, by name. An administrator changes and deletes them as users.
#[utoipa::path(get, path = "/api/v1/customers", tag = "customers", params(CustomerQuery),
    responses((status = 200, body = CustomerList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
) -> Result<axum::Json<CustomerList>, ApiError> {
    let Page { offset, limit } = Page::new(query.offset, query.limit)?;
    let text = query.q.unwrap_or_default();
    let (customers, total) = app.store.customers(&text, app.now(), offset, limit).await?;
    Ok(axum::Json(CustomerList { items: customers.into_iter().map(CustomerDto::from).collect(), total }))
}
