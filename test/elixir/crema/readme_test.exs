defmodule Crema.ReadmeTest do
  # The README's Elixir examples run, as they stand there but for the brokers' address.
  use ExUnit.Case, async: true

  @readme Path.expand("../../../README.md", __DIR__)
  @external_resource @readme

  test "what the README produces is handled and printed" do
    cluster = start_supervised!({Crema.Cluster, topics: %{"orders" => 2}})
    brokers = Crema.Cluster.bootstrap_servers(cluster)
    test = self()
    leader = Process.group_leader()
    Process.group_leader(self(), spawn_link(fn -> print(test) end))

    [dependency | examples] = examples()
    assert [{:crema, git: _, branch: _}, {:crema, path: _}] = terms(dependency)

    for example <- examples do
      example |> String.replace("localhost:9092", brokers) |> Code.eval_string()
    end

    for line <- ["ada wants an espresso\n", "joe wants a ristretto\n", "bob wants a macchiato\n"] do
      assert_receive {:printed, ^line}, 30_000
    end

    Supervisor.stop(MyApp.Supervisor)
    Process.group_leader(self(), leader)
  end

  test "the other Elixir examples of the documents are at least well-formed" do
    for file <- Path.wildcard(Path.expand("../../../docs/*.md", __DIR__)),
        code <- examples(file) do
      assert {:ok, _} = Code.string_to_quoted(code)
    end
  end

  defp examples(file \\ @readme) do
    Regex.scan(~r/^```elixir\n(.*?)^```$/ms, File.read!(file), capture: :all_but_first)
    |> List.flatten()
  end

  defp terms(text) do
    for line <- String.split(text, "\n", trim: true), do: line |> Code.eval_string() |> elem(0)
  end

  # A group leader that passes on what is printed by the processes below it.
  defp print(test) do
    receive do
      {:io_request, from, ref, {:put_chars, _encoding, chars}} ->
        send(test, {:printed, IO.chardata_to_string(chars)})
        send(from, {:io_reply, ref, :ok})

      {:io_request, from, ref, _other} ->
        send(from, {:io_reply, ref, {:error, :request}})
    end

    print(test)
  end
end
