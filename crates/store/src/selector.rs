//! A selector becomes a condition of SQL: constant fragments, every value a parameter.
//!
//! The condition speaks of `d` (devices), `s` (software), `p` (presence) and `r` (the script that runs),
//! which the caller joins; of the last three there may be none.

use motehub_domain::selector::{Field, Operator, Selector};

use crate::engine::query::{Query, contains};

/// Adds the condition of a selector to a query.
pub(crate) fn restrict(query: &mut Query, selector: &Selector) {
    match selector {
        Selector::All => {
            query.push("1 = 1");
        }
        Selector::Online => {
            query.push("coalesce(p.online, 0) = 1");
        }
        Selector::Failing => {
            query.push("s.problem is not null");
        }
        Selector::Pending => {
            query.push(
                "(s.pending_deployment is not null
                or exists (select 1 from tasks t where t.device = d.id and t.is_open = 1))",
            );
        }
        Selector::Unauthenticated => {
            query.push("d.unauthenticated_allowed = 1");
        }
        Selector::Is(Field::Tag, operator, value) => tag(query, *operator, value),
        Selector::Is(field, operator, value) => compare(query, *field, *operator, value),
        Selector::Not(inner) => {
            query.push("not (");
            restrict(query, inner);
            query.push(")");
        }
        Selector::And(left, right) => both(query, left, " and ", right),
        Selector::Or(left, right) => both(query, left, " or ", right),
    }
}

fn both(query: &mut Query, left: &Selector, word: &'static str, right: &Selector) {
    query.push("(");
    restrict(query, left);
    query.push(word);
    restrict(query, right);
    query.push(")");
}

fn tag(query: &mut Query, operator: Operator, value: &str) {
    const TAGGED: &str = "exists (select 1 from device_tags g where g.device = d.id and g.tag";
    match operator {
        Operator::Equal => query.push(TAGGED).push(" = ").bind(value).push(")"),
        Operator::Unequal => query.push("not ").push(TAGGED).push(" = ").bind(value).push(")"),
        Operator::Contains => {
            query.push(TAGGED).push("_key like ").bind(contains(value)).push(" escape '\\')")
        }
    };
}

fn compare(query: &mut Query, field: Field, operator: Operator, value: &str) {
    // The first text is compared whole, the second is in lower case and searched.
    let (whole, lower) = match field {
        Field::Tag | Field::Name => ("d.name", "d.name_key"),
        Field::Id => ("d.id", "d.id"),
        Field::ExternalId => ("coalesce(d.external_id, '')", "lower(coalesce(d.external_id, ''))"),
        Field::Dialect => ("d.dialect", "d.dialect"),
        Field::Script => ("coalesce(r.name, '')", "coalesce(r.name_key, '')"),
        Field::Version => ("coalesce(s.running_version, 0)", "coalesce(cast(s.running_version as text), '')"),
    };
    if operator == Operator::Contains {
        query.push(lower).push(" like ").bind(contains(value)).push(" escape '\\'");
        return;
    }
    query.push(whole).push(if operator == Operator::Equal { " = " } else { " <> " });
    match field {
        Field::Version => query.bind(value.parse::<i64>().unwrap_or(0)),
        Field::Id => query.bind(value.to_ascii_lowercase()),
        Field::Tag | Field::Name | Field::ExternalId | Field::Dialect | Field::Script => query.bind(value),
    };
}
