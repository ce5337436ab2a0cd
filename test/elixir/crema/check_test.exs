defmodule Crema.CheckTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  defmodule Orders do
    use Crema.Consumer, group: "billing", topics: "orders"

    @impl true
    def handle_message(_message, state), do: {:ack, state}
  end

  setup do
    cluster = start_supervised!({Crema.Cluster, topics: %{"orders" => 1}})
    {:ok, servers: Crema.Cluster.bootstrap_servers(cluster)}
  end

  test "a good connection has nothing to mend, a wrong name has", %{servers: servers} do
    # The same calls as in Erlang, by keyword lists.
    assert {:ok, [%{step: :options, status: :ok} | _] = steps} =
             Crema.check(bootstrap_servers: servers, topics: ["orders"])

    assert Crema.Check.format(steps) =~ "1 partitions"

    assert {:error, {:unknown_host, %{message: message}}} =
             Crema.Check.check(bootstrap_servers: "nosuchhost.invalid", topics: ["orders"])

    assert message =~ "nosuchhost.invalid"
  end

  test "the Mix task shows the steps, and fails when one has failed", %{servers: servers} do
    task = Mix.Tasks.Crema.Check
    args = ["--module", inspect(Orders), "-b", servers]
    assert capture_io(fn -> assert :ok = task.run(args) end) =~ ~r/group +billing: /

    bad = fn -> catch_exit(task.run(["-b", "nosuchhost.invalid"])) end
    assert capture_io(bad) =~ ~r/failed +names/
  end

  test "the Mix task tells its options" do
    for help <- ["-h", "--help"] do
      assert capture_io(fn -> Mix.Tasks.Crema.Check.run([help]) end) =~ "--bootstrap"
    end
  end
end
