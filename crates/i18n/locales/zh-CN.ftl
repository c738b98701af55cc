# The texts that the shop sends to its customers, in Simplified Chinese: those of en.ftl, with the same variables.

## Messages: what an e-mail says, and its subject.

order-paid = 我们已收到您的付款，正在为您备货。
    .subject = 订单 { $order_no } 支付成功

order-shipped = 您的订单已发货，可在订单详情中查看运单号。
    .subject = 订单 { $order_no } 已发货

order-cancelled = 已根据您的申请取消订单。
    .subject = 订单 { $order_no } 已取消

order-expired = 您的订单超时未支付，已自动取消。
    .subject = 订单 { $order_no } 超时未支付，已取消

order-refunded = 您的退款将原路退回，请留意到账情况。
    .subject = 订单 { $order_no } 已退款

refund-rejected = 您的退款申请未通过审核，可在订单详情中查看原因。
    .subject = 订单 { $order_no } 的退款申请未通过

password-reset =
    我们收到了重置您账户密码的请求。请在 { $minutes } 分钟内打开以下链接设置新密码，该链接仅可使用一次：

    { $link }

    如非本人操作，请忽略本邮件。{ $linked ->
        [0] {""}
       *[other] 您仍可通过 { $providers } 登录。
    }
    .subject = 重置您的密码

email-verification =
    请在 { $hours } 小时内打开以下链接，确认该邮箱属于您：

    { $link }

    如果您没有在本商城填写过该邮箱，请忽略本邮件。
    .subject = 请验证您的邮箱

password-changed = 您的账户密码已修改，其他会话均已退出。如非本人操作，请立即重置密码。
    .subject = 您的密码已修改

password-was-reset =
    您的账户密码已重置，所有会话均已退出。{ $linked ->
        [0] {""}
       *[other] 您的账户仍关联：{ $providers }。如有不认识的，请解除关联。
    }如非本人操作，请立即重置密码。
    .subject = 您的密码已重置

email-changed = 您的账户邮箱已变更。如非本人操作，请立即修改密码和邮箱。
    .subject = 您的邮箱已变更

email-replaced = 该邮箱已不再是您的账户邮箱：它已被更换或移除。如非本人操作，请登录后修改密码，并重新填写邮箱。
    .subject = 您的账户邮箱已被更换

identity-linked = 您现在可以通过 { $provider } 登录。如非本人操作，请在账户中解除关联，并修改密码。
    .subject = 您的账户已关联 { $provider }

identity-unlinked = 您已不能再通过 { $provider } 登录。如非本人操作，请立即修改密码。
    .subject = 您的账户已解除与 { $provider } 的关联

## Why a coupon is refused.

coupon-unknown = 优惠码不存在
coupon-not-started = 该优惠券尚未生效
coupon-ended = 该优惠券已过期
coupon-user-limit-reached = 您已达到该优惠券的领取上限
coupon-fully-claimed = 该优惠券已被领完
coupon-out-of-scope = 所选商品均不适用该优惠券
coupon-below-minimum = 适用商品的金额未达到该优惠券的使用门槛
coupon-no-effect = 该优惠券对当前商品没有优惠
