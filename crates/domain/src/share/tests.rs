//! The verbs of shares, each with who may not.

use super::*;
use crate::access::Role;
use crate::device::Dialect;

const NOW: Time = Time(1_800_000_000_000);

fn lamp() -> Device {
    Device {
        id: DeviceId::from_parts(1, 1),
        name: "SN-0001".to_owned(),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: Some("lamp-1".to_owned()),
        tags: vec!["batch-7".to_owned()],
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: NOW,
        revision: 1,
    }
}

fn person(number: u128, name: &str) -> User {
    User {
        id: UserId::from_parts(1, number),
        name: name.to_owned(),
        role: Role::Customer,
        disabled: false,
        password_hash: String::new(),
        must_change_password: false,
        created_at: NOW,
        last_login_at: None,
        revision: 1,
    }
}

fn by(user: &User) -> Actor {
    Actor::User(user.name.clone())
}

/// What the saves leave of a device's shares.
fn after(mut shares: Vec<Share>, effects: &Effects) -> Vec<Share> {
    for save in &effects.save {
        match save {
            Save::Share(share) => {
                shares.retain(|other| other.user != share.user);
                shares.push((**share).clone());
            }
            Save::EndShare(_, user) => shares.retain(|share| share.user != *user),
            Save::EndSharesOf(_) => shares.clear(),
            _ => {}
        }
    }
    shares
}

fn owned() -> (User, Vec<Share>) {
    let ada = person(1, "ada");
    let claimed = claim(&lamp(), &ada, &[], NOW).unwrap();
    let shares = after(Vec::new(), &claimed);
    (ada, shares)
}

fn invitation(gift: Gift, expires_at: Option<Time>) -> Invitation {
    let (id, digest) = (InvitationId::from_parts(1, 9), Digest([9; 32]));
    Invitation { id, digest, gift, created_by: "ada".to_owned(), created_at: NOW, expires_at }
}

#[test]
fn the_first_claim_makes_the_owner_and_there_is_no_second() {
    let (ada, shares) = owned();
    assert_eq!((shares[0].user, shares[0].right, shares[0].until), (ada.id, Right::Owner, None));
    for (who, sentence) in [(&ada, "yours already"), (&person(2, "bo"), "has an owner")] {
        let refused = claim(&lamp(), who, &shares, NOW).unwrap_err();
        assert_eq!(refused.code, "claimed");
        assert!(refused.sentence.contains(sentence), "{refused}");
    }
    let code = claim_code(InvitationId::from_parts(1, 2), Digest([1; 32]), &lamp(), &shares, &by(&ada), NOW);
    assert_eq!(code.unwrap_err().code, "claimed", "there is nothing to claim");
}

#[test]
fn an_owner_shares_until_a_time_and_the_guest_begins_with_the_owners_name_for_it() {
    let (ada, mut shares) = owned();
    let (named, _) = rename(&lamp(), &shares[0], Some(" Kitchen "), None, &by(&ada)).unwrap();
    shares = vec![named];
    let (bo, until) = (person(2, "bo"), NOW + Span::minutes(5));
    let given = give(&lamp(), &bo, Right::Control, Some(until), &shares, &by(&ada), NOW).unwrap();
    let told = format!("{:?}", given.changes);
    assert!(!told.contains("Kitchen"), "the private name is in no change: {told}");
    let shares = after(shares, &given);
    let of_bo = shares.iter().find(|share| share.user == bo.id).unwrap();
    assert_eq!((of_bo.name.as_deref(), of_bo.right), (Some("Kitchen"), Right::Control));
    assert!(!of_bo.has_ended(until - Span(1)) && of_bo.has_ended(until));
    let lower = give(&lamp(), &bo, Right::View, None, &shares, &by(&ada), NOW).unwrap();
    let shares = after(shares, &lower);
    let of_bo = shares.iter().find(|share| share.user == bo.id).unwrap();
    assert_eq!((of_bo.right, of_bo.until, of_bo.revision), (Right::View, None, 2));
    let cases = [
        give(&lamp(), &bo, Right::Owner, None, &shares, &by(&ada), NOW),
        give(&lamp(), &bo, Right::View, Some(NOW), &shares, &by(&ada), NOW),
        give(&lamp(), &ada, Right::View, None, &shares, &by(&ada), NOW),
        give(&lamp(), &bo, Right::View, None, &[], &by(&ada), NOW),
    ];
    for refused in cases {
        assert!(refused.is_err(), "{refused:?}");
    }
    let many: Vec<Share> = (0..SHARES_MAX as u128)
        .map(|n| Share { user: UserId::from_parts(2, n), ..shares[0].clone() })
        .collect();
    let refused = give(&lamp(), &bo, Right::View, None, &many, &by(&ada), NOW).unwrap_err();
    assert_eq!(refused.code, "too_large");
}

#[test]
fn a_guest_can_be_sent_away_and_the_owner_only_releases() {
    let (ada, shares) = owned();
    let (owned, bo) = (shares[0].clone(), person(2, "bo"));
    let given = give(&lamp(), &bo, Right::View, None, &shares, &by(&ada), NOW).unwrap();
    let shares = after(shares, &given);
    let of_bo = shares.iter().find(|share| share.user == bo.id).unwrap();
    let revoked = revoke(&lamp(), of_bo, "bo", &by(&ada)).unwrap();
    assert_eq!(after(shares.clone(), &revoked).len(), 1);
    assert_eq!(revoke(&lamp(), &owned, "ada", &by(&ada)).unwrap_err().code, "conflict");
    let code = (InvitationId::from_parts(1, 3), Digest([3; 32]));
    let released = release(&lamp(), &shares, code, &by(&ada), NOW).unwrap();
    assert_eq!(after(shares, &released), Vec::new());
    let next = released.save.iter().find_map(|save| match save {
        Save::Invitation(next) => Some((**next).clone()),
        _ => None,
    });
    assert_eq!(next.unwrap().gift, Gift::Claim(lamp().id));
    assert_eq!(release(&lamp(), &[], code, &by(&ada), NOW).unwrap_err().code, "unclaimed");
}

#[test]
fn an_invitation_serves_once_and_gives_what_it_says() {
    let (ada, shares) = owned();
    let bo = person(2, "bo");
    let to_share = invitation(Gift::Share(lamp().id, Right::View, None), Some(NOW + Span::days(1)));
    let about = Some((&lamp(), shares.as_slice()));
    let (device, of) = (lamp(), shares.clone());
    invite(&to_share, Some((&device, &of)), 0, &by(&ada), NOW).unwrap();
    let used = redeem(&to_share, &bo, about, NOW).unwrap();
    assert_eq!(used.save[0], Save::DropInvitation(to_share.id), "it is gone first, or nothing is done");
    assert_eq!(after(shares.clone(), &used).len(), 2);
    let account = redeem(&invitation(Gift::Account, None), &bo, None, NOW).unwrap();
    assert_eq!(account.save.len(), 1, "nothing but the account");
    let code = invitation(Gift::Claim(lamp().id), None);
    assert_eq!(redeem(&code, &bo, Some((&device, &of)), NOW).unwrap_err().code, "claimed");
    let first = redeem(&code, &bo, Some((&device, &[])), NOW).unwrap();
    assert_eq!(after(Vec::new(), &first)[0].right, Right::Owner);
    let bad = [
        invite(&invitation(Gift::Account, Some(NOW)), None, 0, &by(&ada), NOW),
        invite(&invitation(Gift::Account, Some(NOW + Span::days(400))), None, 0, &by(&ada), NOW),
        invite(&invitation(Gift::Account, None), None, INVITATIONS_MAX, &by(&ada), NOW),
        invite(&to_share, Some((&device, &[])), 0, &by(&ada), NOW),
    ];
    for refused in bad {
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[test]
fn a_private_name_is_shown_to_the_vendor_only_when_the_customer_says_so() {
    let (ada, shares) = owned();
    assert!(!shares[0].name_shown);
    let (named, _) = rename(&lamp(), &shares[0], Some("Bedroom"), None, &by(&ada)).unwrap();
    assert_eq!((named.name.as_deref(), named.name_shown, named.revision), (Some("Bedroom"), false, 2));
    let (shown, _) = rename(&lamp(), &named, None, Some(true), &by(&ada)).unwrap();
    assert!(shown.name_shown);
    let (same, nothing) = rename(&lamp(), &shown, Some("Bedroom"), Some(true), &by(&ada)).unwrap();
    assert_eq!((same, nothing), (shown.clone(), Effects::none()));
    assert_eq!(rename(&lamp(), &shown, Some("  "), None, &by(&ada)).unwrap().0.name, None);
    assert!(rename(&lamp(), &shown, Some(&"x".repeat(81)), None, &by(&ada)).is_err());
}

#[test]
fn a_device_is_brought_with_its_customers() {
    let (lamp, ada) = (lamp(), Actor::User("ada".to_owned()));
    let (lea, bo) = (person(1, "lea"), person(2, "bo"));
    assert!(bring(&lamp, &[], &ada, NOW).expect("is brought").is_empty(), "it is the vendor's alone");
    let brought = bring(&lamp, &[lea.clone(), bo.clone()], &ada, NOW).expect("is brought");
    let shares: Vec<(UserId, Right)> = brought.save.iter().filter_map(share_of).collect();
    assert_eq!(shares, [(lea.id, Right::Owner), (bo.id, Right::Control)]);
    assert!(brought.changes.iter().all(|change| change.actor == ada), "who imported it said so");
    let many: Vec<User> = (0..=SHARES_MAX as u128).map(|number| person(number, "x")).collect();
    assert_eq!(bring(&lamp, &many, &ada, NOW).expect_err("too many").code, "too_large");
}

fn share_of(save: &Save) -> Option<(UserId, Right)> {
    match save {
        Save::Share(share) => Some((share.user, share.right)),
        _ => None,
    }
}
