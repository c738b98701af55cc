# The texts that the shop sends to its customers, in English. A text that is missing in another language is taken from
# here. The syntax is Fluent's: https://projectfluent.org/fluent/guide/

## Messages: what an e-mail says, and its subject.

order-paid = We have received your payment and are preparing your order.
    .subject = Payment received for order { $order_no }

order-shipped = Your order is on its way. You can find the tracking number in the order's details.
    .subject = Order { $order_no } has been shipped

order-cancelled = We have cancelled your order, as you asked.
    .subject = Order { $order_no } has been cancelled

order-expired = Your order was not paid in time and has been cancelled.
    .subject = Order { $order_no } has expired

order-refunded = Your refund is on its way.
    .subject = Order { $order_no } has been refunded

refund-rejected = We could not approve your refund request. You can find the reason in the order's details.
    .subject = Refund request for order { $order_no } not approved

password-reset =
    We received a request to reset your password. Open this link within { $minutes ->
        [one] { $minutes } minute
       *[other] { $minutes } minutes
    } to choose a new one; it works once:

    { $link }

    If you did not ask for this, you can ignore this mail.{ $linked ->
        [0] {""}
       *[other] {" "}Signing in with { $providers } works as before.
    }
    .subject = Reset your password

email-verification =
    Open this link within { $hours ->
        [one] { $hours } hour
       *[other] { $hours } hours
    } to confirm that this e-mail address is yours:

    { $link }

    If you did not enter this address in our shop, you can ignore this mail.
    .subject = Confirm your e-mail address

password-changed =
    The password of your account was changed, and your other sessions have ended. If you did not do this, reset your password at once.
    .subject = Your password was changed

password-was-reset =
    The password of your account was reset, and all sessions have ended.{ $linked ->
        [0] {""}
       *[other] {" "}Still linked to your account: { $providers }. Unlink any that you do not recognize.
    } If you did not do this, reset your password at once.
    .subject = Your password was reset

email-changed =
    The e-mail address of your account was changed. If you did not do this, change your password and the address at once.
    .subject = Your e-mail address was changed

email-replaced =
    This is no longer the e-mail address of your account: it was replaced or removed. If you did not do this, sign in, change your password and enter your address again.
    .subject = The e-mail address of your account was replaced

identity-linked =
    You can now sign in with { $provider }. If you did not do this, unlink it in your account and change your password.
    .subject = { $provider } was linked to your account

identity-unlinked =
    You can no longer sign in with { $provider }. If you did not do this, change your password at once.
    .subject = { $provider } was unlinked from your account

## Why a coupon is refused.

coupon-unknown = There is no coupon with this code
coupon-not-started = This coupon is not valid yet
coupon-ended = This coupon has expired
coupon-user-limit-reached = You have reached this coupon's limit
coupon-fully-claimed = This coupon has been fully claimed
coupon-out-of-scope = This coupon does not apply to any of these items
coupon-below-minimum = The items this coupon applies to do not reach its minimum amount
coupon-no-effect = This coupon would not lower the price
