defmodule Cafe.SelfTest do
  @moduledoc """
  Shows that an installed release works: orders, waits until all is served, and stops the VM with
  an honest exit status. It runs when `CREMA_SAMPLE_SELFTEST=1` is set.
  """
  use Task, restart: :temporary

  @orders 1_000
  @deadline 60_000

  def start_link(_opts), do: Task.start_link(__MODULE__, :run, [])

  def run do
    status =
      try do
        check()
      catch
        kind, reason ->
          IO.puts("selftest failed: " <> Exception.format(kind, reason, __STACKTRACE__))
          1
      end

    System.stop(status)
  end

  defp check do
    batch = "selftest-#{System.os_time()}"
    :ok = Cafe.subscribe(batch)
    Process.send_after(self(), :deadline, @deadline)

    {:ok, results} = Cafe.order(batch, for(n <- 1..@orders, do: {"guest #{n}", "espresso"}))
    produced = Enum.count(results, &match?({:ok, _report}, &1))
    handled = produced |> collect(MapSet.new()) |> MapSet.size()

    IO.puts("selftest: #{produced} produced, #{handled} handled")
    if {produced, handled} == {@orders, @orders}, do: 0, else: 1
  end

  # Delivery is at least once: an order that comes twice counts once.
  defp collect(expected, served) do
    if MapSet.size(served) == expected do
      served
    else
      receive do
        {:served, order} -> collect(expected, MapSet.put(served, {order.partition, order.offset}))
        :deadline -> served
      end
    end
  end
end
