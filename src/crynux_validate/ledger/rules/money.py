"""Balances, as an action leaves them: integers of the smallest unit, from 0 to 2^256-1."""

from crynux_validate.encoding import check_id, shorten
from crynux_validate.errors import InsufficientFundsError, InvalidInputError
from crynux_validate.ledger.interface import MAX_MONEY
from crynux_validate.ledger.rules.state import Change, State


def check_money(value: object, what: str, least: int, why: str = "") -> None:
    """Refuse a value that is not an amount of money, or too small."""
    if type(value) is not int or not least <= value <= MAX_MONEY:
        because = f": {why}" if why else ""
        raise InvalidInputError(f"{what} is {shorten(value)}; expected an integer from {least} to 2^256-1{because}")


def balance_after(state: State, change: Change, account: str) -> int:
    """Return a balance as the action has left it so far."""
    return change.accounts.get(account, state.balance(account))


def pay(state: State, change: Change, account: str, amount: int) -> None:
    """Add to a balance."""
    change.accounts[account] = balance_after(state, change, account) + amount


def charge(state: State, change: Change, account: str, amount: int, what: str) -> None:
    """Take from a balance that covers it."""
    balance = balance_after(state, change, check_id(account, "the account"))
    if balance < amount:
        raise InsufficientFundsError(
            f"account {account} has {balance}, but {what} costs {amount}: deposit more first",
            balance=balance,
            amount=amount,
        )
    change.accounts[account] = balance - amount
