defmodule PartsTest do
  # Without a broker: what is ordered is recorded, and the barista is given made-up orders.
  use ExUnit.Case, async: true
  import Crema.Test

  setup do
    {:ok, producer: start_supervised!({Crema.Producer, record: true})}
  end

  test "an order is a message with its guest as the key, so that they stay in order", context do
    orders = [{"Ada", "espresso"}, {"Joe", "mocha"}, {"Ada", "latte"}]
    assert {:ok, [{:ok, _}, {:ok, _}, {:ok, _}]} = Cafe.order("b1", orders, context.producer)

    assert_produced %{key: "Joe", value: "mocha", headers: [{"batch", "b1"}]}
    assert [one, two] = produced(key: "Ada")
    assert {one.value, two.value} == {"espresso", "latte"}
    assert one.partition == two.partition
  end

  test "who orders hears of an order that fails", context do
    fail(:msg_timed_out, match: [key: "Joe"])
    orders = [{"Ada", "espresso"}, {"Joe", "mocha"}]

    assert {:ok, [{:ok, _}, {:error, {:msg_timed_out, _}}]} =
             Cafe.order("b2", orders, context.producer)

    refute_produced key: "Joe"
  end

  test "a barista serves each order, to those who subscribed to its batch" do
    batch = "parts-#{System.unique_integer([:positive])}"
    :ok = Cafe.subscribe(batch)
    headers = [{"batch", batch}]

    handled =
      handle(Cafe.Barista, [%{key: "Ada", value: "espresso", headers: headers}, "for nobody"])

    assert %{verdicts: [:ack, :ack], acked: [0, 1]} = handled
    assert_received {:served, %{key: "Ada", value: "espresso"}}
    refute_received {:served, _}
  end
end
