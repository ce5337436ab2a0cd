defmodule Crema.Broadway.Watch do
  @moduledoc false
  # Ends when a stage of a producer's pipeline crashes, and the producer, which is linked to it, with it.
  # Broadway starts the stage again and keeps the producer, to which nobody tells that the messages
  # have gone that the stage had.

  @doc "Called by the producer, once."
  @spec start_link() :: pid
  def start_link do
    producer = self()
    ancestors = Process.get(:"$ancestors", [])
    spawn_link(fn -> watch(producer, Enum.map(ancestors, &GenServer.whereis/1)) end)
  end

  # The producers' supervisor is a child of the pipeline's.
  defp watch(producer, [producers, pipeline | _]) when is_pid(pipeline) do
    own = Process.monitor(producer)

    if match?({:supervisor, _, _}, :proc_lib.translate_initial_call(pipeline)),
      do: Enum.each(others(pipeline, producers), &Process.monitor/1)

    await_crash(own)
  end

  defp watch(_producer, _ancestors), do: :ok

  # The supervisor answers when all of them are started.
  defp others(supervisor, producers) do
    Enum.flat_map(Supervisor.which_children(supervisor), fn
      {_, ^producers, _, _} -> []
      {_, pid, :supervisor, _} when is_pid(pid) -> others(pid, producers)
      {_, pid, _, _} -> if is_pid(pid), do: [pid], else: []
    end)
  end

  defp await_crash(own) do
    receive do
      {:DOWN, ^own, _, _, _} -> :ok
      {:DOWN, _, _, _, reason} when reason in [:normal, :shutdown] -> await_crash(own)
      {:DOWN, _, _, _, {:shutdown, _}} -> await_crash(own)
      {:DOWN, _, _, stage, _} -> exit({:shutdown, {:stage_crashed, stage}})
    end
  end
end
