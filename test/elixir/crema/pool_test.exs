defmodule Crema.PoolTest do
  use ExUnit.Case, async: true

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    options = [name: __MODULE__.Pool, size: 2, bootstrap_servers: bootstrap]
    {:ok, pool: start_supervised!({Crema.Pool, options})}
  end

  test "a pool is used like a producer", %{pool: pool} do
    assert {:ok, %{topic: "espresso"}} =
             Crema.produce(__MODULE__.Pool, %{topic: "espresso", value: "1"})

    assert :ok = Crema.flush(pool, 10_000)
    assert %{kind: :pool, members: [_, _]} = Crema.status(pool)
  end

  test "a member is one process's alone", %{pool: pool} do
    assert {:ok, {:ok, %{offset: _}}} =
             Crema.Pool.with(pool, fn member ->
               assert %{size: 2, checked_out: 1} = Crema.Pool.stats(pool)
               Crema.produce(member, %{topic: "espresso", value: "2"})
             end)

    assert {:ok, member} = Crema.Pool.checkout(pool, 1000)
    assert :ok = Crema.Pool.checkin(pool, member)
    assert {:error, {:not_found, _}} = Crema.Pool.checkin(pool, member)
  end

  test "its deadline is kept", %{pool: pool} do
    for _ <- 1..2, do: {:ok, _} = Crema.Pool.checkout(pool)
    task = Task.async(fn -> Crema.Pool.with(pool, & &1, timeout: 50) end)
    assert {:error, {:pool_timeout, _}} = Task.await(task)
  end
end
