defmodule CafeTest do
  # Runs on the embedded cluster, or on the brokers that variables tell of.
  use ExUnit.Case, async: true

  setup do
    batch = "test-#{System.os_time()}-#{System.unique_integer([:positive])}"
    :ok = Cafe.subscribe(batch)
    {:ok, batch: batch}
  end

  test "every order is served", %{batch: batch} do
    orders = for n <- 1..100, do: {"guest #{n}", "espresso"}

    assert {:ok, results} = Cafe.order(batch, orders)
    assert Enum.all?(results, &match?({:ok, _report}, &1))

    assert batch |> served(100) |> Enum.map(&{&1.key, &1.value}) |> Enum.sort() ==
             Enum.sort(orders)
  end

  test "the orders of one guest are served in their order", %{batch: batch} do
    drinks = for n <- 1..50, do: "drink #{n}"

    assert {:ok, _results} = Cafe.order(batch, Enum.map(drinks, &{"Ada", &1}))
    assert batch |> served(50) |> Enum.map(& &1.value) == drinks
  end

  test "an order without a drink is not an order for nothing at all", %{batch: batch} do
    assert {:ok, _results} = Cafe.order(batch, [{"Ada", nil}, {"Ada", ""}])
    assert batch |> served(2) |> Enum.map(& &1.value) == [nil, ""]
  end

  test "a bad order raises what is wrong with it" do
    assert_raise Crema.Error, ~r/topic/, fn ->
      Crema.produce!(Cafe.Producer, %{value: "espresso"})
    end
  end

  defp served(batch, count) do
    for _ <- 1..count do
      assert_receive {:served, %{headers: [{"batch", ^batch}]} = message}, 20_000
      message
    end
  end
end
